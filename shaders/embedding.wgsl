// y[r] = W[id[r]]        dW[w] = sum of dy[r] over the r with id[r] = w
//
// For the backward pass the host sorts the rows by token: `tokens` holds (token, first, end) for each token that occurs, and
// `ids[first..end]` are its rows. So one invocation sums one element, in the order of the rows. The gradients of tokens that
// do not occur are set to zero beforehand.

struct Params {
    rows: u32,
    columns: u32,
    x_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// W; dy in the backward pass.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn embedding_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.rows * params.columns {
        return;
    }
    let row = i / params.columns;
    let column = i - row * params.columns;
    y[i] = x[params.x_start + ids[row] * params.columns + column];
}

// Here `rows` is the number of tokens that occur.
@compute @workgroup_size(256)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.rows * params.columns {
        return;
    }
    let entry = i / params.columns;
    let column = i - entry * params.columns;
    var sum = 0.0;
    for (var j = tokens[3u * entry + 1u]; j < tokens[3u * entry + 2u]; j++) {
        sum += x[params.x_start + ids[j] * params.columns + column];
    }
    y[tokens[3u * entry] * params.columns + column] = sum;
}
