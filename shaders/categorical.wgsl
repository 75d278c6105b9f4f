// Draws one token for each row of logits, by inversion of the cumulative distribution:
//
//   p[r][w] = e^(x[r][w] / T) / sum over allowed v of e^(x[r][v] / T)
//   drawn[r] = the first allowed w with  p[r][0] + ... + p[r][w] > u[r]
//
// One workgroup computes one row. Each invocation sums the powers of a chunk of neighbouring tokens. One invocation then
// finds the chunk in which the cumulative sum exceeds u times the total, and the token in that chunk.

struct Params {
    rows: u32,
    vocabulary: u32,
    x_start: u32,
    // 1 / T
    inverse: f32,
    // Tokens that may not be drawn; NONE where there are fewer.
    barred: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
// A random number in [0, 1) for each row.
@group(0) @binding(2) var<storage, read> uniform_numbers: array<f32>;
// The token of each row; NONE where its sum is not finite or no token may be drawn.
@group(0) @binding(3) var<storage, read_write> drawn: array<u32>;

const NONE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.402823e38;
const THREADS: u32 = 256u;

var<workgroup> values: array<f32, THREADS>;

fn is_allowed(token: u32) -> bool {
    return all(params.barred != vec4<u32>(token));
}

// e^((x - largest) / T); 0 for a barred token.
fn power(base: u32, token: u32, largest: f32) -> f32 {
    if !is_allowed(token) {
        return 0.0;
    }
    return exp((logits[base + token] - largest) * params.inverse);
}

// Returns whether x is finite, by its bits: a compiler may assume that floating-point comparisons see finite numbers only.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(256)
fn categorical_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let base = params.x_start + row * params.vocabulary;
    let chunk = (params.vocabulary + THREADS - 1u) / THREADS;
    let first = min(invocation * chunk, params.vocabulary);
    let last = min(first + chunk, params.vocabulary);

    // A row with a logit that is NaN or +infinity has no distribution.
    var own_largest = LOWEST;
    var broken = false;
    for (var token = first; token < last; token++) {
        let x = logits[base + token];
        if is_allowed(token) {
            own_largest = max(own_largest, x);
            broken = broken || (!is_finite(x) && bitcast<u32>(x) != 0xff800000u);
        }
    }
    values[invocation] = own_largest;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if invocation < step {
            values[invocation] = max(values[invocation], values[invocation + step]);
        }
        workgroupBarrier();
    }
    let largest = values[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var token = first; token < last; token++) {
        sum += power(base, token, largest);
    }
    // A sum is at least 0, so -1 marks a row without a distribution.
    values[invocation] = select(sum, -1.0, broken);
    workgroupBarrier();
    if invocation != 0u {
        return;
    }
    var total = 0.0;
    for (var t = 0u; t < THREADS; t++) {
        if values[t] < 0.0 {
            drawn[row] = NONE;
            return;
        }
        total += values[t];
    }
    let goal = uniform_numbers[row] * total;
    var before = 0.0;
    // Where rounding keeps the sum below the goal, the last token with a positive probability is drawn.
    var found = NONE;
    for (var t = 0u; t < THREADS; t++) {
        if values[t] <= 0.0 {
            continue;
        }
        let passes = before + values[t] > goal;
        var within = before;
        let end = min((t + 1u) * chunk, params.vocabulary);
        for (var token = t * chunk; token < end; token++) {
            let p = power(base, token, largest);
            within += p;
            if p > 0.0 {
                found = token;
                if passes && within > goal {
                    drawn[row] = token;
                    return;
                }
            }
        }
        if passes {
            break;
        }
        before += values[t];
    }
    drawn[row] = found;
}
