// Batch norm over the channels of [rows, channels]: moments, the affine map that they determine, and gradients.
//
//   xhat = (x - mean) / sqrt(var + eps)      y = gamma xhat + beta = scale x + shift
//
//   dgamma = sum dz xhat      dbeta = sum dz      dx = scale (dz - dbeta / M - xhat dgamma / M)
//
// where dz = dy. If a ReLU follows the norm, dz = 0 where scale x + shift is not positive.
//
// Sums over rows are taken in two stages without atomic additions. In the first, a workgroup sums a chunk of the rows for
// 32 channels; in the second, one invocation adds the chunks of one channel in order. Variances come from sums of
// (x - s)^2, where s is the channel's value in the first row. It usually lies within a few standard deviations of the
// mean, so few digits cancel (Chan, Golub and LeVeque, 1983).
//
// A norm folded with its statistics is [4, channels]: scale, shift, mean, 1 / sqrt(var + eps).

struct Params {
    rows: u32,
    channels: u32,
    rows_per_chunk: u32,
    chunks: u32,
    x_start: u32,
    x_stride: u32,
    dy_start: u32,
    dy_stride: u32,
    out_start: u32,
    out_stride: u32,
    gamma_start: u32,
    beta_start: u32,
    mean_start: u32,
    var_start: u32,
    running_mean_start: u32,
    running_var_start: u32,
    // For running statistics: the weight of the batch's statistics, and the factor n / (n - 1) that makes a variance unbiased.
    momentum: f32,
    unbiased: f32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> folded: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> beta: array<f32>;
@group(0) @binding(6) var<storage, read> mean: array<f32>;
@group(0) @binding(7) var<storage, read> variance: array<f32>;
// [chunks, 2, channels]: partial sums of the first stage.
@group(0) @binding(8) var<storage, read> parts: array<f32>;
// [2, channels]: dgamma, dbeta.
@group(0) @binding(9) var<storage, read> sums: array<f32>;
// The result: y, dx, statistics or sums.
@group(0) @binding(10) var<storage, read_write> out: array<f32>;
@group(0) @binding(11) var<storage, read> running_mean: array<f32>;
@group(0) @binding(12) var<storage, read> running_variance: array<f32>;

// Whether a ReLU follows the norm.
override RELU: u32 = 0;
// Whether the statistics are the batch's own, and so depend on x.
override BATCH: u32 = 0;
// Whether the gradient is added to the contents of `out`.
override ACCUMULATE: u32 = 0;

const CHANNELS: u32 = 32;
const LANES: u32 = 8;
var<workgroup> first_sums: array<f32, 256>;
var<workgroup> second_sums: array<f32, 256>;

// Adds the sums of the eight lanes of each channel; the result is in the first lane.
fn add_lanes(lane: u32, invocation: u32) {
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if lane < step {
            first_sums[invocation] += first_sums[invocation + step * CHANNELS];
            second_sums[invocation] += second_sums[invocation + step * CHANNELS];
        }
        workgroupBarrier();
    }
}

// Partial sums [chunks, 2, channels] of x - s and of (x - s)^2.
@compute @workgroup_size(32, 8)
fn batch_norm_moments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
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
    first_sums[invocation] = sum;
    second_sums[invocation] = squares;
    add_lanes(local.y, invocation);
    if local.y == 0u && channel < params.channels {
        let position = group.y * 2u * params.channels + channel;
        out[position] = first_sums[invocation];
        out[position + params.channels] = second_sums[invocation];
    }
}

// Turns the partial sums into means and biased variances.
@compute @workgroup_size(256)
fn batch_norm_finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let channel = element_index(group, groups, invocation);
    if channel >= params.channels {
        return;
    }
    var sum = 0.0;
    var squares = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let position = chunk * 2u * params.channels + channel;
        sum += parts[position];
        squares += parts[position + params.channels];
    }
    let rows = f32(params.rows);
    let d = sum / rows;
    out[params.mean_start + channel] = x[params.x_start + channel] + d;
    out[params.var_start + channel] = max(0.0, squares / rows - d * d);
}

// Folds gamma, beta, mean and variance.
@compute @workgroup_size(256)
fn batch_norm_fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let channel = element_index(group, groups, invocation);
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

// Writes new running statistics, [2, channels]: the old ones moved by `momentum` towards those of the batch.
@compute @workgroup_size(256)
fn batch_norm_update_running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let channel = element_index(group, groups, invocation);
    if channel >= params.channels {
        return;
    }
    let old_mean = running_mean[params.running_mean_start + channel];
    let old_var = running_variance[params.running_var_start + channel];
    let new_mean = mean[params.mean_start + channel];
    let new_var = variance[params.var_start + channel] * params.unbiased;
    out[channel] = old_mean + params.momentum * (new_mean - old_mean);
    out[params.channels + channel] = old_var + params.momentum * (new_var - old_var);
}

@compute @workgroup_size(256)
fn batch_norm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.rows * params.channels {
        return;
    }
    let row = i / params.channels;
    let channel = i - row * params.channels;
    let value = x[params.x_start + row * params.x_stride + channel];
    let y = fma(value, folded[channel], folded[params.channels + channel]);
    out[params.out_start + row * params.out_stride + channel] = select(y, max(0.0, y), RELU == 1u);
}

fn xhat(value: f32, channel: u32) -> f32 {
    return (value - folded[2u * params.channels + channel]) * folded[3u * params.channels + channel];
}

// Returns dz, the gradient with respect to the norm's output: zero where a ReLU follows and its output is not positive.
fn dz(row: u32, value: f32, channel: u32) -> f32 {
    let y = fma(value, folded[channel], folded[params.channels + channel]);
    if RELU == 1u && !(y > 0.0) {
        return 0.0;
    }
    return dy[params.dy_start + row * params.dy_stride + channel];
}

// Partial sums [chunks, 2, channels] of dgamma and dbeta.
@compute @workgroup_size(32, 8)
fn batch_norm_grad_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let channel = group.x * CHANNELS + local.x;
    var dgamma = 0.0;
    var dbeta = 0.0;
    if channel < params.channels {
        let begin = group.y * params.rows_per_chunk;
        let end = min(params.rows, begin + params.rows_per_chunk);
        for (var row = begin + local.y; row < end; row += LANES) {
            let value = x[params.x_start + row * params.x_stride + channel];
            let d = dz(row, value, channel);
            dgamma = fma(d, xhat(value, channel), dgamma);
            dbeta += d;
        }
    }
    first_sums[invocation] = dgamma;
    second_sums[invocation] = dbeta;
    add_lanes(local.y, invocation);
    if local.y == 0u && channel < params.channels {
        let position = group.y * 2u * params.channels + channel;
        out[position] = first_sums[invocation];
        out[position + params.channels] = second_sums[invocation];
    }
}

// Adds the partial sums of dgamma and dbeta.
@compute @workgroup_size(256)
fn batch_norm_add_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= 2u * params.channels {
        return;
    }
    var sum = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        sum += parts[chunk * 2u * params.channels + i];
    }
    out[i] = sum;
}

@compute @workgroup_size(256)
fn batch_norm_grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.rows * params.channels {
        return;
    }
    let row = i / params.channels;
    let channel = i - row * params.channels;
    let value = x[params.x_start + row * params.x_stride + channel];
    var d = dz(row, value, channel);
    if BATCH == 1u {
        let through_variance = xhat(value, channel) * sums[channel];
        d -= (sums[params.channels + channel] + through_variance) / f32(params.rows);
    }
    var dx = folded[channel] * d;
    let position = params.out_start + row * params.out_stride + channel;
    if ACCUMULATE == 1u {
        dx += out[position];
    }
    out[position] = dx;
}
