// The k most likely words of each row of logits, and the log-sum-exp of the row.
//
// One workgroup computes one row. It searches for the largest logit k times, each time among the words that come after the
// previous one in the order "larger logit first; of equal ones the lower word". Barred words are left out.

struct Params {
    rows: u32,
    words: u32,
    k: u32,
    x_start: u32,
    // Words that may not be chosen; NONE where there are fewer.
    barred: vec4<u32>,
    // The only word that may be chosen, or NONE.
    only: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
// For each row: the bits of the log-sum-exp; then, for each choice, its word (NONE where there is none) and its logit's bits.
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;

const NONE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.402823e38;

var<workgroup> values: array<f32, 256>;
var<workgroup> words: array<u32, 256>;

// Returns whether (x, i) comes before (y, j).
fn before(x: f32, i: u32, y: f32, j: u32) -> bool {
    return i != NONE && (j == NONE || x > y || (x == y && i < j));
}

fn first_of_all(value: f32, word: u32, invocation: u32) {
    workgroupBarrier();
    values[invocation] = value;
    words[invocation] = word;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if invocation < step {
            let other = invocation + step;
            if before(values[other], words[other], values[invocation], words[invocation]) {
                values[invocation] = values[other];
                words[invocation] = words[other];
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
    let base = params.x_start + row * params.words;
    let out = row * (1u + 2u * params.k);

    var own_largest = LOWEST;
    for (var i = invocation; i < params.words; i += 256u) {
        own_largest = max(own_largest, logits[base + i]);
    }
    let largest = largest_of_all(own_largest, invocation);
    var sum = 0.0;
    for (var i = invocation; i < params.words; i += 256u) {
        sum += exp(logits[base + i] - largest);
    }
    let total = sum_of_all(sum, invocation);
    if invocation == 0u {
        chosen[out] = bitcast<u32>(largest + log(total));
    }

    var last_value = 0.0;
    var last_word = NONE;
    for (var n = 0u; n < params.k; n++) {
        var best = LOWEST;
        var word = NONE;
        for (var i = invocation; i < params.words; i += 256u) {
            let value = logits[base + i];
            let free = all(params.barred != vec4<u32>(i)) && (params.only == NONE || params.only == i);
            let later = last_word == NONE || before(last_value, last_word, value, i);
            if free && later && before(value, i, best, word) {
                best = value;
                word = i;
            }
        }
        first_of_all(best, word, invocation);
        last_value = workgroupUniformLoad(&values[0]);
        last_word = workgroupUniformLoad(&words[0]);
        if invocation == 0u {
            chosen[out + 1u + 2u * n] = last_word;
            chosen[out + 2u + 2u * n] = bitcast<u32>(last_value);
        }
        // When no word is left, the remaining choices are NONE.
        if last_word == NONE {
            for (var m = n + 1u; m < params.k; m++) {
                if invocation == 0u {
                    chosen[out + 1u + 2u * m] = NONE;
                }
            }
            break;
        }
    }
}
