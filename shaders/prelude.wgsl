// Functions that several shaders call. This text is appended to each shader when it is compiled.

// Returns the index of a workgroup. If there are too many for one axis, they form a rectangle that is numbered row by row.
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// Returns the index of an invocation among those of all workgroups of 256; each computes one element.
fn element_index(group: vec3<u32>, groups: vec3<u32>, invocation: u32) -> u32 {
    return group_index(group, groups) * 256u + invocation;
}

// sigmoid(x) = 1 / (1 + exp(-x)). The exponential is taken of -|x| alone, which can't overflow.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// tanh(x) = sign(x) (1 - exp(-2|x|)) / (1 + exp(-2|x|)). The exponential of a negative number does not overflow. Near 0 the
// difference would lose digits, so the Taylor series replaces it there.
fn hyperbolic_tangent(x: f32) -> f32 {
    let s = abs(x);
    if s < 0.1 {
        let q = x * x;
        return x * (1.0 + q * (-1.0 / 3.0 + q * (2.0 / 15.0 - q * 17.0 / 315.0)));
    }
    let e = exp(-2.0 * s);
    return sign(x) * (1.0 - e) / (1.0 + e);
}

// One value for each invocation of a workgroup of 256, for the two functions that follow.
var<workgroup> shared_values: array<f32, 256>;

// Returns the sum of `value` over the 256 invocations of a workgroup. Each step adds the upper half of the values to the lower
// half, so the order is fixed. Every invocation has to call it, because it contains barriers.
fn sum_of_all(value: f32, invocation: u32) -> f32 {
    workgroupBarrier();
    shared_values[invocation] = value;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if invocation < step {
            shared_values[invocation] += shared_values[invocation + step];
        }
        workgroupBarrier();
    }
    return shared_values[0];
}

// Returns the largest `value` of the 256 invocations of a workgroup. Every invocation has to call it.
fn largest_of_all(value: f32, invocation: u32) -> f32 {
    workgroupBarrier();
    shared_values[invocation] = value;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if invocation < step {
            shared_values[invocation] = max(shared_values[invocation], shared_values[invocation + step]);
        }
        workgroupBarrier();
    }
    return shared_values[0];
}
