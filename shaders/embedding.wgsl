// y[r] = W[id[r]]        dW[w] = sum of dy[r] over the r with id[r] = w
//
// Backward, whoever starts this has sorted the rows by word: of each word that occurs, `words` has (word, first, end) in
// `ids`, which lists the rows. So one thread sums each element, in the order of the rows; words that do not occur are
// zero beforehand.

struct Params {
    rows: u32,
    columns: u32,
    x_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// W, or dy on the way back.
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> words: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn embedding_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= params.rows * params.columns {
        return;
    }
    let row = i / params.columns;
    let column = i - row * params.columns;
    y[i] = x[params.x_start + ids[row] * params.columns + column];
}

// `rows` counts the words that occur.
@compute @workgroup_size(256)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= params.rows * params.columns {
        return;
    }
    let entry = i / params.columns;
    let column = i - entry * params.columns;
    var sum = 0.0;
    for (var j = words[3u * entry + 1u]; j < words[3u * entry + 2u]; j++) {
        sum += x[params.x_start + ids[j] * params.columns + column];
    }
    y[words[3u * entry] * params.columns + column] = sum;
}
