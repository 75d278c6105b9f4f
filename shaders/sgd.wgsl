// d = grad + weight_decay param
// velocity = momentum velocity + d
// param -= lr velocity                       plain
// param -= lr (d + momentum velocity)        Nesterov
//
// Buffers are as Adam's: all parameters in one, those that decay first; where the norm is no finite number, nothing moves.

struct Params {
    len: u32,
    decaying: u32,
    param_start: u32,
    grad_start: u32,
    velocity_start: u32,
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    // What of d and of the velocity the parameter moves by: 0 and 1, or 1 and momentum.
    now: f32,
    ahead: f32,
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
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= params.len {
        return;
    }
    var p = param[params.param_start + i];
    var speed = velocity[params.velocity_start + i];
    if (bitcast<u32>(norm[0]) & 0x7f800000u) != 0x7f800000u {
        let d = fma(select(0.0, params.weight_decay, i < params.decaying), p, grad[params.grad_start + i]);
        speed = fma(params.momentum, speed, d);
        p -= params.lr * fma(params.ahead, speed, params.now * d);
    }
    new_param[i] = p;
    new_velocity[i] = speed;
}
