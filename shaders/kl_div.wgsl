// loss = T^2/R sum over rows of sum over k of p[k] (ln p[k] - ln q[k])        p = softmax(t / T)        q = softmax(s / T)
// ds = dloss T / R (q - p)
//
// One workgroup computes one row: its divergence, which `reduce_sum` adds up, and q - p.

struct Params {
    rows: u32,
    classes: u32,
    student_start: u32,
    teacher_start: u32,
    // 1 / T
    inverse: f32,
    len: u32,
    dloss_start: u32,
    // T / R
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// The student's logits; q - p in the backward pass.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> teacher: array<f32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
// q - p; ds in the backward pass.
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;

// Whether q - p is written.
override RESIDUAL: u32 = 0;

@compute @workgroup_size(256)
fn kl_div_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let student_base = params.student_start + row * params.classes;
    let teacher_base = params.teacher_start + row * params.classes;
    var most_student = -3.402823e38;
    var most_teacher = -3.402823e38;
    for (var i = invocation; i < params.classes; i += 256u) {
        most_student = max(most_student, x[student_base + i]);
        most_teacher = max(most_teacher, teacher[teacher_base + i]);
    }
    let largest_student = largest_of_all(most_student, invocation);
    let largest_teacher = largest_of_all(most_teacher, invocation);
    var powers_student = 0.0;
    var powers_teacher = 0.0;
    var expected = 0.0;
    for (var i = invocation; i < params.classes; i += 256u) {
        // Subtract the largest logit of the row first: the difference stays exact where the logits themselves are large.
        let from_student = x[student_base + i] - largest_student;
        let from_teacher = teacher[teacher_base + i] - largest_teacher;
        let power = exp(from_teacher * params.inverse);
        powers_student += exp(from_student * params.inverse);
        powers_teacher += power;
        expected = fma(power, (from_teacher - from_student) * params.inverse, expected);
    }
    let sum_student = sum_of_all(powers_student, invocation);
    let sum_teacher = sum_of_all(powers_teacher, invocation);
    let expected_difference = sum_of_all(expected, invocation) / sum_teacher;
    if invocation == 0u {
        losses[row] = expected_difference + log(sum_student) - log(sum_teacher);
    }
    if RESIDUAL == 1u {
        for (var i = invocation; i < params.classes; i += 256u) {
            let q = exp((x[student_base + i] - largest_student) * params.inverse) / sum_student;
            let p = exp((teacher[teacher_base + i] - largest_teacher) * params.inverse) / sum_teacher;
            y[row * params.classes + i] = q - p;
        }
    }
}

@compute @workgroup_size(256)
fn kl_div_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i < params.len {
        y[i] = x[i] * dloss[params.dloss_start] * params.factor;
    }
}
