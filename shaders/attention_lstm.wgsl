// The attention of one step, and its gradient; src/ops/attention_lstm derives the formulas. lstm.wgsl computes the gates
// of the LSTM, and matmul.wgsl the products with W_ih and W_hh; this file computes the rest. It writes h for h'.
//
//   e_p = score . u_p   u_p = tanh(k_p + q)   alpha = softmax(e)   m = sum over p of alpha_p v_p   beta = sigmoid(r)
//   z = beta m
//
//   dz = dy of z + W_iz^T da                   dm = dz beta   dr = dz m beta (1 - beta)
//   dalpha_p = dy of alpha_p + dm . v_p        de_p = alpha_p (dalpha_p - sum over j of alpha_j dalpha_j)
//   dq = score (sum over p of de_p (1 - u_p^2))
//
// One workgroup computes one sentence. A score is a sum over the key; 32 invocations compute it together, for eight positions
// at a time. The mean and dq are sums over positions; one invocation computes one element, so neighbouring invocations read
// neighbouring floats.

struct Params {
    sentences: u32,
    steps: u32,
    // The index of this step.
    step: u32,
    images: u32,
    positions: u32,
    key: u32,
    value: u32,
    hidden: u32,
    keys_start: u32,
    values_start: u32,
    score_start: u32,
    bias_start: u32,
    dy_start: u32,
    h0_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [S, T, A + V + 4H]: q, r (still without its bias) and a; the forward pass replaces r by beta, and lstm.wgsl a by the
// gates. The backward pass replaces q and beta by dq and dr, and lstm.wgsl the gates by da.
@group(0) @binding(1) var<storage, read_write> rows: array<f32>;
// [N, P, A]
@group(0) @binding(2) var<storage, read> keys: array<f32>;
// [N, P, V]
@group(0) @binding(3) var<storage, read> values: array<f32>;
// [A]
@group(0) @binding(4) var<storage, read> score: array<f32>;
// [V + 4H]
@group(0) @binding(5) var<storage, read> bias: array<f32>;
// The outputs: [S, T, H + V] h and z, then [S, T, P] alpha, then the cell states.
@group(0) @binding(6) var<storage, read_write> outputs: array<f32>;
// [S, T, V] m, replaced by dm; then [S, T, A] q, [S, T, P] de, and [S, V] the gates' part of dz at this step.
@group(0) @binding(7) var<storage, read_write> saved: array<f32>;
// The image of each sentence; then the sentences sorted by image; then, for each image, where its sentences begin in that
// order, and the end of the last.
@group(0) @binding(8) var<storage, read> lists: array<u32>;
// The gradient with respect to the outputs: h and z, alpha, and the cell states of the last step, laid out like `outputs`.
@group(0) @binding(9) var<storage, read> dy: array<f32>;
// [N, P, A]
@group(0) @binding(10) var<storage, read_write> dkeys: array<f32>;
// [N, P, A]: the summands of each position for the gradient with respect to `score`.
@group(0) @binding(11) var<storage, read_write> dscore_parts: array<f32>;
// [N, P, V]
@group(0) @binding(12) var<storage, read_write> dvalues: array<f32>;
// [S, T, H]: h before each step.
@group(0) @binding(13) var<storage, read_write> h: array<f32>;
// [S, H]: h before the first step.
@group(0) @binding(14) var<storage, read> h0: array<f32>;

// Returns the sum over the 32 invocations of one of the workgroup's eight rows, to all of them.
fn sum_of_row(value: f32, invocation: u32) -> f32 {
    workgroupBarrier();
    shared_values[invocation] = value;
    workgroupBarrier();
    for (var step = 16u; step > 0u; step /= 2u) {
        if invocation % 32u < step {
            shared_values[invocation] += shared_values[invocation + step];
        }
        workgroupBarrier();
    }
    return shared_values[invocation - invocation % 32u];
}

// The elements of a row of `rows`, and where the parts of `outputs` and `saved` begin.
fn width() -> u32 {
    return params.key + params.value + 4u * params.hidden;
}

fn output_width() -> u32 {
    return params.hidden + params.value;
}

fn all_rows() -> u32 {
    return params.sentences * params.steps;
}

fn weights_start() -> u32 {
    return all_rows() * output_width();
}

fn queries_start() -> u32 {
    return all_rows() * params.value;
}

fn de_start() -> u32 {
    return queries_start() + all_rows() * params.key;
}

fn dz_start() -> u32 {
    return de_start() + all_rows() * params.positions;
}

@compute @workgroup_size(256)
fn attention_lstm_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let sentence = group_index(group, groups);
    if sentence >= params.sentences {
        return;
    }
    let image = lists[sentence];
    let row = sentence * params.steps + params.step;
    let query = row * width();
    let alpha = weights_start() + row * params.positions;
    let first_key = params.keys_start + image * params.positions * params.key;
    let first_value = params.values_start + image * params.positions * params.value;

    let lane = invocation % 32u;
    for (var first = 0u; first < params.positions; first += 8u) {
        let p = first + invocation / 32u;
        var product = 0.0;
        if p < params.positions {
            for (var a = lane; a < params.key; a += 32u) {
                let u = hyperbolic_tangent(keys[first_key + p * params.key + a] + rows[query + a]);
                product = fma(score[params.score_start + a], u, product);
            }
        }
        let e = sum_of_row(product, invocation);
        if p < params.positions && lane == 0u {
            outputs[alpha + p] = e;
        }
    }
    storageBarrier();

    var own_largest = -3.402823e38;
    for (var p = invocation; p < params.positions; p += 256u) {
        own_largest = max(own_largest, outputs[alpha + p]);
    }
    let largest = largest_of_all(own_largest, invocation);
    var sum = 0.0;
    for (var p = invocation; p < params.positions; p += 256u) {
        let power = exp(outputs[alpha + p] - largest);
        outputs[alpha + p] = power;
        sum += power;
    }
    let total = sum_of_all(sum, invocation);
    for (var p = invocation; p < params.positions; p += 256u) {
        outputs[alpha + p] = outputs[alpha + p] / total;
    }
    storageBarrier();

    for (var j = invocation; j < params.value; j += 256u) {
        var mean = 0.0;
        for (var p = 0u; p < params.positions; p++) {
            mean = fma(outputs[alpha + p], values[first_value + p * params.value + j], mean);
        }
        let gate = query + params.key + j;
        let beta = sigmoid(rows[gate] + bias[params.bias_start + j]);
        rows[gate] = beta;
        saved[row * params.value + j] = mean;
        outputs[row * output_width() + params.hidden + j] = beta * mean;
    }
}

@compute @workgroup_size(256)
fn attention_lstm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let sentence = group_index(group, groups);
    if sentence >= params.sentences {
        return;
    }
    let image = lists[sentence];
    let row = sentence * params.steps + params.step;
    let query = row * width();
    let dm = row * params.value;
    let alpha = weights_start() + row * params.positions;
    let de = de_start() + row * params.positions;
    let first_key = params.keys_start + image * params.positions * params.key;
    let first_value = params.values_start + image * params.positions * params.value;

    for (var j = invocation; j < params.value; j += 256u) {
        let dy_z = dy[params.dy_start + row * output_width() + params.hidden + j];
        let dz = dy_z + saved[dz_start() + sentence * params.value + j];
        let gate = query + params.key + j;
        let beta = rows[gate];
        let mean = saved[dm + j];
        rows[gate] = dz * mean * beta * (1.0 - beta);
        saved[dm + j] = dz * beta;
    }
    storageBarrier();

    // Stores dalpha where de will be.
    let lane = invocation % 32u;
    for (var first = 0u; first < params.positions; first += 8u) {
        let p = first + invocation / 32u;
        var product = 0.0;
        if p < params.positions {
            for (var j = lane; j < params.value; j += 32u) {
                product = fma(saved[dm + j], values[first_value + p * params.value + j], product);
            }
        }
        let sum = sum_of_row(product, invocation);
        if p < params.positions && lane == 0u {
            saved[de + p] = dy[params.dy_start + alpha + p] + sum;
        }
    }
    storageBarrier();

    var product = 0.0;
    for (var p = invocation; p < params.positions; p += 256u) {
        product = fma(outputs[alpha + p], saved[de + p], product);
    }
    let mean_dalpha = sum_of_all(product, invocation);
    for (var p = invocation; p < params.positions; p += 256u) {
        saved[de + p] = outputs[alpha + p] * (saved[de + p] - mean_dalpha);
    }
    storageBarrier();

    for (var a = invocation; a < params.key; a += 256u) {
        let q = rows[query + a];
        var sum = 0.0;
        for (var p = 0u; p < params.positions; p++) {
            let u = hyperbolic_tangent(keys[first_key + p * params.key + a] + q);
            sum = fma(saved[de + p], 1.0 - u * u, sum);
        }
        saved[queries_start() + row * params.key + a] = q;
        rows[query + a] = score[params.score_start + a] * sum;
    }
}

// dk_p = score (sum of de_p (1 - u_p^2)) over all steps of all sentences of the image, in their order, and this position's
// summand of dscore = sum of de_p u_p. One invocation computes one element.
@compute @workgroup_size(256)
fn attention_lstm_dkeys(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= params.images * params.positions * params.key {
        return;
    }
    let map_position = index / params.key;
    let a = index - map_position * params.key;
    let image = map_position / params.positions;
    let p = map_position - image * params.positions;
    let begin = lists[2u * params.sentences + image];
    let end = lists[2u * params.sentences + image + 1u];
    let k = keys[params.keys_start + index];
    var slopes = 0.0;
    var products = 0.0;
    for (var i = begin; i < end; i++) {
        let first_row = lists[params.sentences + i] * params.steps;
        for (var t = 0u; t < params.steps; t++) {
            let row = first_row + t;
            let de = saved[de_start() + row * params.positions + p];
            let u = hyperbolic_tangent(k + saved[queries_start() + row * params.key + a]);
            slopes = fma(de, 1.0 - u * u, slopes);
            products = fma(de, u, products);
        }
    }
    dkeys[index] = score[params.score_start + a] * slopes;
    dscore_parts[index] = products;
}

// dv_p = sum of alpha_p dm over all steps of all sentences of the image, in their order. One invocation computes one element.
@compute @workgroup_size(256)
fn attention_lstm_dvalues(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= params.images * params.positions * params.value {
        return;
    }
    let map_position = index / params.value;
    let j = index - map_position * params.value;
    let image = map_position / params.positions;
    let p = map_position - image * params.positions;
    let begin = lists[2u * params.sentences + image];
    let end = lists[2u * params.sentences + image + 1u];
    var sum = 0.0;
    for (var i = begin; i < end; i++) {
        let first_row = lists[params.sentences + i] * params.steps;
        for (var t = 0u; t < params.steps; t++) {
            let row = first_row + t;
            let alpha = outputs[weights_start() + row * params.positions + p];
            sum = fma(alpha, saved[row * params.value + j], sum);
        }
    }
    dvalues[index] = sum;
}

// Copies h before each step, [S, T, H]: h0 before the first step, then the outputs.
@compute @workgroup_size(256)
fn attention_lstm_states_before(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let index = element_index(group, groups, invocation);
    if index >= all_rows() * params.hidden {
        return;
    }
    let row = index / params.hidden;
    let k = index - row * params.hidden;
    let sentence = row / params.steps;
    if row == sentence * params.steps {
        h[index] = h0[params.h0_start + sentence * params.hidden + k];
    } else {
        h[index] = outputs[(row - 1u) * output_width() + k];
    }
}
