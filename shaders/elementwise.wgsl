// Sums, differences, products and functions, element by element:
//
//   add y = a + b    sub y = a - b    mul y = a b    scale y = k x    tanh, sigmoid
//   tanh_grad y = a (1 - b^2)         sigmoid_grad y = a b (1 - b)

struct Params {
    len: u32,
    a_start: u32,
    b_start: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// The function, by its number in src/gpu/elementwise.rs.
override FUNCTION: u32 = 0;

@compute @workgroup_size(256)
fn elementwise_pair(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    let p = a[params.a_start + i];
    let q = b[params.b_start + i];
    var value = 0.0;
    switch FUNCTION {
        case 0u: { value = p + q; }
        case 1u: { value = p - q; }
        case 2u: { value = p * q; }
        case 3u: { value = p * (1.0 - q * q); }
        default: { value = p * q * (1.0 - q); }
    }
    y[i] = value;
}

@compute @workgroup_size(256)
fn elementwise_single(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.len {
        return;
    }
    let x = a[params.a_start + i];
    var value = 0.0;
    switch FUNCTION {
        case 0u: { value = params.factor * x; }
        case 1u: { value = hyperbolic_tangent(x); }
        default: { value = sigmoid(x); }
    }
    y[i] = value;
}
