// loss = 1/R sum over rows of w (ln sum over v of exp x[v] - (1 - s) x[target] - s/V sum over v of x[v])
// dx = dloss / R w (p - q)        p = exp x / sum exp x        q = 1 - s + s/V at the target, s/V elsewhere
//
// s is the label smoothing, and w the weight of the row. One workgroup computes one row: w times its loss, which `reduce_sum`
// adds up, and w (p - q).

struct Params {
    rows: u32,
    classes: u32,
    x_start: u32,
    smoothing: f32,
    len: u32,
    dloss_start: u32,
    // 1 / R
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Logits; w (p - q) in the backward pass.
@group(0) @binding(1) var<storage, read> x: array<f32>;
// The class of each row; IGNORED where the row does not count.
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
// w (p - q); dx in the backward pass.
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;
@group(0) @binding(6) var<storage, read> weights: array<f32>;

const IGNORED: u32 = 0xffffffffu;
// Whether w (p - q) is written.
override RESIDUAL: u32 = 0;

@compute @workgroup_size(256)
fn cross_entropy_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let target_class = targets[row];
    let counts = target_class != IGNORED;
    let base = params.x_start + row * params.classes;
    var own_largest = -3.402823e38;
    var total = 0.0;
    for (var i = invocation; i < params.classes; i += 256u) {
        own_largest = max(own_largest, x[base + i]);
        total += x[base + i];
    }
    let largest = largest_of_all(own_largest, invocation);
    var powers = 0.0;
    for (var i = invocation; i < params.classes; i += 256u) {
        powers += exp(x[base + i] - largest);
    }
    let sum = sum_of_all(powers, invocation);
    let all = sum_of_all(total, invocation);
    let off_target = params.smoothing / f32(params.classes);
    if invocation == 0u {
        // Subtract before summing: the differences are small where the logits may be large.
        var loss = 0.0;
        if counts {
            let mean = all / f32(params.classes);
            let reference = (1.0 - params.smoothing) * (x[base + target_class] - largest)
                + params.smoothing * (mean - largest);
            loss = log(sum) - reference;
        }
        losses[row] = weights[row] * loss;
    }
    if RESIDUAL == 1u {
        for (var i = invocation; i < params.classes; i += 256u) {
            var residual = 0.0;
            if counts {
                let p = exp(x[base + i] - largest) / sum;
                residual = p - off_target - select(0.0, 1.0 - params.smoothing, i == target_class);
            }
            y[row * params.classes + i] = weights[row] * residual;
        }
    }
}

@compute @workgroup_size(256)
fn cross_entropy_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i < params.len {
        y[i] = x[i] * dloss[params.dloss_start] * params.factor;
    }
}
