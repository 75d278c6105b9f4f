// Columns from one matrix to another: y[r][to + c] = x[r][from + c].
//
// Concatenation copies each part beside the one before; its gradient copies them back out. A dense block's input goes
// into the block's buffer the same way.

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
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + thread;
    if i >= params.rows * params.columns {
        return;
    }
    let row = i / params.columns;
    let column = i - row * params.columns;
    y[params.y_start + row * params.y_stride + column] = x[params.x_start + row * params.x_stride + column];
}
