// norm = sqrt(sum over all elements of g^2)        g *= min(1, max_norm / (norm + 1e-6))
//
// All gradients lie in one buffer. Each workgroup sums the squares of a chunk; one workgroup adds the sums and takes the root;
// then every element is multiplied by the factor. Where the norm is infinite or NaN, the factor is 1.

struct Params {
    len: u32,
    start: u32,
    len_per_chunk: u32,
    chunks: u32,
    max_norm: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn clip_grad_norm_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let chunk = group_index(group, groups);
    let begin = chunk * params.len_per_chunk;
    let end = min(params.len, begin + params.len_per_chunk);
    var sum = 0.0;
    for (var i = begin + invocation; i < end; i += 256u) {
        let g = x[params.start + i];
        sum = fma(g, g, sum);
    }
    let total = sum_of_all(sum, invocation);
    if invocation == 0u && (begin < params.len || chunk == 0u) {
        y[chunk] = total;
    }
}

// `x` holds the sums of the chunks.
@compute @workgroup_size(256)
fn clip_grad_norm_root(@builtin(local_invocation_index) invocation: u32) {
    var sum = 0.0;
    for (var i = invocation; i < params.chunks; i += 256u) {
        sum += x[i];
    }
    let total = sum_of_all(sum, invocation);
    if invocation == 0u {
        y[0] = sqrt(total);
    }
}

@compute @workgroup_size(256)
fn clip_grad_norm_scale(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    let length = norm[0];
    // Finite: not all bits of the exponent are set.
    let finite = (bitcast<u32>(length) & 0x7f800000u) != 0x7f800000u;
    let factor = select(1.0, min(1.0, params.max_norm / (length + 1e-6)), finite);
    y[i] = x[params.start + i] * factor;
}
