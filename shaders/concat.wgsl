// Copies columns from one matrix to another: y[r][to + c] = x[r][from + c].
//
// Concatenation copies each part beside the previous one; its gradient copies the columns back. The input of a dense block is
// copied into the block's buffer in this way.

struct Params {
    rows: u32,
    columns: u32,
    x_start: u32,
    x_stride: u32,
    y_start: u32,
    y_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn concat_columns(
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
    y[params.y_start + row * params.y_stride + column] = x[params.x_start + row * params.x_stride + column];
}
