// y = max(0, x)        dx = dy where y > 0, else 0

struct Params {
    len: u32,
    condition_start: u32,
    value_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// x in the forward pass, y in the backward pass.
@group(0) @binding(1) var<storage, read> condition: array<f32>;
// The value where `condition` is positive: x in the forward pass, dy in the backward pass.
@group(0) @binding(2) var<storage, read> value: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn relu_select(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    y[i] = select(0.0, value[params.value_start + i], condition[params.condition_start + i] > 0.0);
}
