// Batch norm over the channels of [rows, channels]: moments, the affine map they make, and gradients.
//
//   xhat = (x - mean) / sqrt(var + eps)      y = gamma xhat + beta = scale x + shift
//
//   dbeta = sum dy      dgamma = sum dy xhat      dx = scale (dy - dbeta / M - xhat dgamma / M)
//
// Sums over rows are taken in two stages without atomic additions: each workgroup sums a chunk of the rows for 32
// channels, and one thread a channel adds up the chunks in order. Variances are sums of (x - s)^2 with s the channel's
// value in the first row, which is as near to the mean as any, so that little cancels (Chan, Golub and LeVeque, 1983).
//
// A norm's state is [4, channels]: scale, shift, mean, 1 / sqrt(var + eps).

struct Params {
    rows: u32,
    channels: u32,
    rows_per_chunk: u32,
    chunks: u32,
    x_start: u32,
    x_stride: u32,
    grad_start: u32,
    grad_stride: u32,
    out_start: u32,
    out_stride: u32,
    gamma_start: u32,
    beta_start: u32,
    mean_start: u32,
    var_start: u32,
    // Of running statistics: how far they move, and what makes a variance unbiased.
    momentum: f32,
    unbiased: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> grad: array<f32>;
@group(0) @binding(3) var<storage, read> state: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> beta: array<f32>;
@group(0) @binding(6) var<storage, read> mean: array<f32>;
@group(0) @binding(7) var<storage, read> variance: array<f32>;
// [2, channels]: dbeta, dgamma.
@group(0) @binding(8) var<storage, read> sums: array<f32>;
@group(0) @binding(9) var<storage, read_write> out: array<f32>;

// Whether a ReLU comes after the norm.
override RELU: u32 = 0;
// Whether the statistics are the batch's own, so that x moves them.
override BATCH: u32 = 0;
// Whether a gradient is added to what is there.
override ACCUMULATE: u32 = 0;

const CHANNELS: u32 = 32;
const LANES: u32 = 8;
var<workgroup> first_sums: array<f32, 256>;
var<workgroup> second_sums: array<f32, 256>;

// The lanes' sums, of one channel each, in the first lane's place.
fn add_lanes(lane: u32, thread: u32) {
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step {
            first_sums[thread] += first_sums[thread + step * CHANNELS];
            second_sums[thread] += second_sums[thread + step * CHANNELS];
        }
        workgroupBarrier();
    }
}

// Parts [chunks, 2, channels] of sum (x - s) and sum (x - s)^2.
@compute @workgroup_size(32, 8)
fn batch_norm_moments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group.x * CHANNELS + local.x;
    var sum = 0.0;
    var squares = 0.0;
    if channel < params.channels {
        let s = x[params.x_start + channel];
        let begin = group.y * params.rows_per_chunk;
        let end = min(params.rows, begin + params.rows_per_chunk);
        for (var row = begin + local.y; row < end; row += LANES) {
            let d = x[params.x_start + row * params.x_stride + channel] - s;
            sum += d;
            squares = fma(d, d, squares);
        }
    }
    first_sums[thread] = sum;
    second_sums[thread] = squares;
    add_lanes(local.y, thread);
    if local.y == 0u && channel < params.channels {
        let place = group.y * 2u * params.channels + channel;
        out[place] = first_sums[thread];
        out[place + params.channels] = second_sums[thread];
    }
}

// The parts, in `grad`, to means and biased variances.
@compute @workgroup_size(256)
fn batch_norm_finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = (group.y * groups.x + group.x) * 256u + thread;
    if channel >= params.channels {
        return;
    }
    var sum = 0.0;
    var squares = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let place = chunk * 2u * params.channels + channel;
        sum += grad[place];
        squares += grad[place + params.channels];
    }
    let rows = f32(params.rows);
    let d = sum / rows;
    out[params.mean_start + channel] = x[params.x_start + channel] + d;
    out[params.var_start + channel] = max(0.0, squares / rows - d * d);
}

// The state of a norm with these statistics.
@compute @workgroup_size(256)
fn batch_norm_fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = (group.y * groups.x + group.x) * 256u + thread;
    if channel >= params.channels {
        return;
    }
    let m = mean[params.mean_start + channel];
    let inv_std = 1.0 / sqrt(variance[params.var_start + channel] + params.eps);
    let scale = gamma[params.gamma_start + channel] * inv_std;
    out[channel] = scale;
    out[params.channels + channel] = beta[params.beta_start + channel] - m * scale;
    out[2u * params.channels + channel] = m;
    out[3u * params.channels + channel] = inv_std;
}

// Running statistics, [2, channels], a little nearer to the batch's: from `x` and `grad` to `out`.
@compute @workgroup_size(256)
fn batch_norm_learn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = (group.y * groups.x + group.x) * 256u + thread;
    if channel >= params.channels {
        return;
    }
    let old_mean = x[params.x_start + channel];
    let old_var = grad[params.grad_start + channel];
    let new_mean = mean[params.mean_start + channel];
    let new_var = variance[params.var_start + channel] * params.unbiased;
    out[channel] = old_mean + params.momentum * (new_mean - old_mean);
    out[params.channels + channel] = old_var + params.momentum * (new_var - old_var);
}

@compute @workgroup_size(256)
fn batch_norm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= params.rows * params.channels {
        return;
    }
    let row = i / params.channels;
    let channel = i - row * params.channels;
    let value = x[params.x_start + row * params.x_stride + channel];
    let y = fma(value, state[channel], state[params.channels + channel]);
    out[params.out_start + row * params.out_stride + channel] = select(y, max(0.0, y), RELU == 1u);
}

fn xhat(value: f32, channel: u32) -> f32 {
    return (value - state[2u * params.channels + channel]) * state[3u * params.channels + channel];
}

// What of dy reaches the norm: with a ReLU after it, nothing where its output was not positive.
fn through_relu(dy: f32, value: f32, channel: u32) -> f32 {
    if RELU == 1u {
        let y = fma(value, state[channel], state[params.channels + channel]);
        return select(0.0, dy, y > 0.0);
    }
    return dy;
}

// Parts [chunks, 2, channels] of dbeta and dgamma.
@compute @workgroup_size(32, 8)
fn batch_norm_grad_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let channel = group.x * CHANNELS + local.x;
    var d_beta = 0.0;
    var d_gamma = 0.0;
    if channel < params.channels {
        let begin = group.y * params.rows_per_chunk;
        let end = min(params.rows, begin + params.rows_per_chunk);
        for (var row = begin + local.y; row < end; row += LANES) {
            let value = x[params.x_start + row * params.x_stride + channel];
            let dy = grad[params.grad_start + row * params.grad_stride + channel];
            let dz = through_relu(dy, value, channel);
            d_beta += dz;
            d_gamma = fma(dz, xhat(value, channel), d_gamma);
        }
    }
    first_sums[thread] = d_beta;
    second_sums[thread] = d_gamma;
    add_lanes(local.y, thread);
    if local.y == 0u && channel < params.channels {
        let place = group.y * 2u * params.channels + channel;
        out[place] = first_sums[thread];
        out[place + params.channels] = second_sums[thread];
    }
}

// The parts, in `grad`, added up: [2, channels].
@compute @workgroup_size(256)
fn batch_norm_add_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= 2u * params.channels {
        return;
    }
    var sum = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        sum += grad[chunk * 2u * params.channels + i];
    }
    out[i] = sum;
}

@compute @workgroup_size(256)
fn batch_norm_grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= params.rows * params.channels {
        return;
    }
    let row = i / params.channels;
    let channel = i - row * params.channels;
    let value = x[params.x_start + row * params.x_stride + channel];
    let dy = grad[params.grad_start + row * params.grad_stride + channel];
    var d = through_relu(dy, value, channel);
    if BATCH == 1u {
        let by_scale = xhat(value, channel) * sums[params.channels + channel];
        d -= (sums[channel] + by_scale) / f32(params.rows);
    }
    d *= state[channel];
    let place = params.out_start + row * params.out_stride + channel;
    if ACCUMULATE == 1u {
        d += out[place];
    }
    out[place] = d;
}
