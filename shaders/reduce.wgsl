// Sums: of all elements, and of each column.
//
//   sum y = sum over i of x[i]        dx[i] = dy
//
// Sums are taken in two stages: each workgroup sums a chunk, then one workgroup (or one invocation per column) adds the chunks
// in order.

struct Params {
    len: u32,
    x_start: u32,
    len_per_chunk: u32,
    chunks: u32,
    columns: u32,
    x_stride: u32,
    // The factor of the sum of all elements, or of dy in the gradient.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Sums each chunk; a second dispatch sums the results as a single chunk.
@compute @workgroup_size(256)
fn reduce_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let chunk = group_index(group, groups);
    let begin = chunk * params.len_per_chunk;
    let end = min(params.len, begin + params.len_per_chunk);
    var sum = 0.0;
    for (var i = begin + invocation; i < end; i += 256u) {
        sum += x[params.x_start + i];
    }
    let total = sum_of_all(sum, invocation);
    if invocation == 0u && (begin < params.len || chunk == 0u) {
        y[chunk] = total * params.factor;
    }
}

// y[i] = factor dy, where dy is one number.
@compute @workgroup_size(256)
fn reduce_broadcast(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i < params.len {
        y[i] = params.factor * x[params.x_start];
    }
}

// Partial sums [chunks, columns] over the rows, whose number is `len`.
@compute @workgroup_size(32, 8)
fn reduce_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let column = group.x * 32u + local.x;
    var sum = 0.0;
    if column < params.columns {
        let begin = group.y * params.len_per_chunk;
        let end = min(params.len, begin + params.len_per_chunk);
        for (var row = begin + local.y; row < end; row += 8u) {
            sum += x[params.x_start + row * params.x_stride + column];
        }
    }
    shared_values[invocation] = sum;
    workgroupBarrier();
    for (var step = 4u; step > 0u; step /= 2u) {
        if local.y < step {
            shared_values[invocation] += shared_values[invocation + step * 32u];
        }
        workgroupBarrier();
    }
    if local.y == 0u && column < params.columns {
        y[group.y * params.columns + column] = shared_values[invocation];
    }
}

// Adds the partial sums [chunks, columns].
@compute @workgroup_size(256)
fn reduce_add_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let column = element_index(group, groups, invocation);
    if column >= params.columns {
        return;
    }
    var sum = 0.0;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        sum += x[params.x_start + chunk * params.columns + column];
    }
    y[column] = sum;
}
