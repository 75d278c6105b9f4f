// The k most likely tokens of each row of logits, and the log-sum-exp of the row.
//
// One workgroup computes one row. It searches for the largest logit k times, each time among the tokens that come after the
// previous one in the order "larger logit first; of equal ones the lower token". Barred tokens are left out.

struct Params {
    rows: u32,
    vocabulary: u32,
    k: u32,
    x_start: u32,
    // Tokens that may not be chosen; NONE where there are fewer.
    barred: vec4<u32>,
    // The only token that may be chosen, or NONE.
    only: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
// For each row: the bits of the log-sum-exp; then, for each choice, its token (NONE where there is none) and its logit's bits.
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;

const NONE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.402823e38;

var<workgroup> values: array<f32, 256>;
var<workgroup> tokens: array<u32, 256>;

// Returns whether (x, i) comes before (y, j).
fn before(x: f32, i: u32, y: f32, j: u32) -> bool {
    return i != NONE && (j == NONE || x > y || (x == y && i < j));
}

fn first_of_all(value: f32, token: u32, invocation: u32) {
    workgroupBarrier();
    values[invocation] = value;
    tokens[invocation] = token;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if invocation < step {
            let other = invocation + step;
            if before(values[other], tokens[other], values[invocation], tokens[invocation]) {
                values[invocation] = values[other];
                tokens[invocation] = tokens[other];
            }
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(256)
fn top_k_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let base = params.x_start + row * params.vocabulary;
    let out = row * (1u + 2u * params.k);

    var own_largest = LOWEST;
    for (var i = invocation; i < params.vocabulary; i += 256u) {
        own_largest = max(own_largest, logits[base + i]);
    }
    first_of_all(own_largest, invocation, invocation);
    let largest = values[0];
    var sum = 0.0;
    for (var i = invocation; i < params.vocabulary; i += 256u) {
        sum += exp(logits[base + i] - largest);
    }
    workgroupBarrier();
    values[invocation] = sum;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if invocation < step {
            values[invocation] += values[invocation + step];
        }
        workgroupBarrier();
    }
    if invocation == 0u {
        chosen[out] = bitcast<u32>(largest + log(values[0]));
    }

    var last_value = 0.0;
    var last_token = NONE;
    for (var n = 0u; n < params.k; n++) {
        var best = LOWEST;
        var token = NONE;
        for (var i = invocation; i < params.vocabulary; i += 256u) {
            let value = logits[base + i];
            let free = all(params.barred != vec4<u32>(i)) && (params.only == NONE || params.only == i);
            let later = last_token == NONE || before(last_value, last_token, value, i);
            if free && later && before(value, i, best, token) {
                best = value;
                token = i;
            }
        }
        first_of_all(best, token, invocation);
        last_value = workgroupUniformLoad(&values[0]);
        last_token = workgroupUniformLoad(&tokens[0]);
        if invocation == 0u {
            chosen[out + 1u + 2u * n] = last_token;
            chosen[out + 2u + 2u * n] = bitcast<u32>(last_value);
        }
        // When no token is left, the remaining choices are NONE.
        if last_token == NONE {
            for (var m = n + 1u; m < params.k; m++) {
                if invocation == 0u {
                    chosen[out + 1u + 2u * m] = NONE;
                }
            }
            break;
        }
    }
}
