// y = 1/n sum over i of (x[i] - t[i])^2        dx[i] = dy 2/n (x[i] - t[i])        dt = -dx
//
// Each workgroup writes the sum of a chunk; `reduce_sum` adds those up.

struct Params {
    len: u32,
    x_start: u32,
    target_start: u32,
    len_per_chunk: u32,
    dy_start: u32,
    // 2/n, or -2/n for the target.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
// The sums of the chunks; dx or dt in the backward pass.
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn mse_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let chunk = group_index(group, groups);
    let begin = chunk * params.len_per_chunk;
    let end = min(params.len, begin + params.len_per_chunk);
    var sum = 0.0;
    for (var i = begin + invocation; i < end; i += 256u) {
        let d = x[params.x_start + i] - targets[params.target_start + i];
        sum = fma(d, d, sum);
    }
    let total = sum_of_all(sum, invocation);
    if invocation == 0u && (begin < params.len || chunk == 0u) {
        y[chunk] = total;
    }
}

@compute @workgroup_size(256)
fn mse_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i < params.len {
        let d = x[params.x_start + i] - targets[params.target_start + i];
        y[i] = params.factor * dy[params.dy_start] * d;
    }
}
