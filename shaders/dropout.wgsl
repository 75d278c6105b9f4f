// y[i] = x[i] k[i] / (1 - p), where k[i] follows from the key and i alone:
//
//   bits = mix(mix(low(i) ^ low(key)) ^ high(i) ^ high(key))        k[i] = (bits >> 8) >= ceil(p 2^24)
//
// The CPU computes the same 32-bit integers, so the mask is the same. No buffer has more than 2^32 elements, so high(i) is
// zero.

struct Params {
    len: u32,
    x_start: u32,
    key_low: u32,
    key_high: u32,
    threshold: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// The hash function lowbias32 of Chris Wellons.
fn mix_bits(bits: u32) -> u32 {
    var x = bits;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

@compute @workgroup_size(256)
fn dropout_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    let bits = mix_bits(mix_bits(i ^ params.key_low) ^ params.key_high);
    let kept = (bits >> 8u) >= params.threshold;
    y[i] = x[params.x_start + i] * select(0.0, params.factor, kept);
}
