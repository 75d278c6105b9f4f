// g = grad + weight_decay param              coupled: Adam
// param *= 1 - lr weight_decay, g = grad     decoupled: AdamW
// m = beta1 m + (1 - beta1) g
// v = beta2 v + (1 - beta2) g^2
// param -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
//
// One invocation updates one parameter. All parameters lie in one buffer, those with weight decay first; their gradients
// and moments lie in buffers in the same order. Results go to new buffers, so other tensors that share the old ones do
// not change. Where the norm of the gradients is infinite or NaN, parameters and moments stay as they are.

struct Params {
    len: u32,
    decaying: u32,
    param_start: u32,
    grad_start: u32,
    m_start: u32,
    v_start: u32,
    // For parameters with weight decay: the factor of the parameter, and the factor of its summand in the gradient.
    shrink: f32,
    decay: f32,
    // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
    rate: f32,
    root: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    // 1 - beta1 and 1 - beta2, rounded once.
    rest1: f32,
    rest2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> param: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read> m: array<f32>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
@group(0) @binding(5) var<storage, read> norm: array<f32>;
@group(0) @binding(6) var<storage, read_write> new_param: array<f32>;
@group(0) @binding(7) var<storage, read_write> new_m: array<f32>;
@group(0) @binding(8) var<storage, read_write> new_v: array<f32>;

@compute @workgroup_size(256)
fn adam_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    var p = param[params.param_start + i];
    var first = m[params.m_start + i];
    var second = v[params.v_start + i];
    if (bitcast<u32>(norm[0]) & 0x7f800000u) != 0x7f800000u {
        let decays = i < params.decaying;
        let g = fma(select(0.0, params.decay, decays), p, grad[params.grad_start + i]);
        first = fma(params.beta1, first, params.rest1 * g);
        second = fma(params.beta2, second, params.rest2 * g * g);
        let denominator = fma(sqrt(second), params.root, params.eps);
        p = select(1.0, params.shrink, decays) * p - params.rate * first / denominator;
    }
    new_param[i] = p;
    new_m[i] = first;
    new_v[i] = second;
}
