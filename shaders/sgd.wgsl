// d = grad + weight_decay param
// velocity = momentum velocity + d
// param -= lr velocity                       plain
// param -= lr (d + momentum velocity)        Nesterov
//
// Buffers are laid out as in adam.wgsl: all parameters in one buffer, those with weight decay first. Where the norm of the
// gradients is infinite or NaN, parameters and velocities stay as they are.

struct Params {
    len: u32,
    decaying: u32,
    param_start: u32,
    grad_start: u32,
    velocity_start: u32,
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    // The direction is gradient_factor d + velocity_factor velocity: with Nesterov the factors are 1 and momentum, else 0 and 1.
    gradient_factor: f32,
    velocity_factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> param: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read> velocity: array<f32>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<storage, read_write> new_param: array<f32>;
@group(0) @binding(6) var<storage, read_write> new_velocity: array<f32>;

@compute @workgroup_size(256)
fn sgd_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    var p = param[params.param_start + i];
    var v = velocity[params.velocity_start + i];
    if (bitcast<u32>(norm[0]) & 0x7f800000u) != 0x7f800000u {
        let d = fma(select(0.0, params.weight_decay, i < params.decaying), p, grad[params.grad_start + i]);
        v = fma(params.momentum, v, d);
        p -= params.lr * fma(params.velocity_factor, v, params.gradient_factor * d);
    }
    new_param[i] = p;
    new_velocity[i] = v;
}
