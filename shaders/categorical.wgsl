// Draws one word for each row of logits, by inversion of the cumulative distribution:
//
//   p[r][w] = e^(x[r][w] / T) / sum over allowed v of e^(x[r][v] / T)
//   drawn[r] = the first allowed w with  p[r][0] + ... + p[r][w] > u[r]
//
// One workgroup computes one row. Each invocation sums the powers of a chunk of neighbouring words. One invocation then
// finds the chunk in which the cumulative sum exceeds u times the total, and the word in that chunk.

struct Params {
    rows: u32,
    words: u32,
    x_start: u32,
    // 1 / T
    inverse: f32,
    // Words that may not be drawn; NONE where there are fewer.
    barred: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
// A random number in [0, 1) for each row.
@group(0) @binding(2) var<storage, read> uniform_numbers: array<f32>;
// The word of each row; NONE where its sum is not finite or no word may be drawn.
@group(0) @binding(3) var<storage, read_write> drawn: array<u32>;

const NONE: u32 = 0xffffffffu;
const LOWEST: f32 = -3.402823e38;
const THREADS: u32 = 256u;

var<workgroup> values: array<f32, THREADS>;

fn is_allowed(word: u32) -> bool {
    return all(params.barred != vec4<u32>(word));
}

// e^((x - largest) / T); 0 for a barred word.
fn power(base: u32, word: u32, largest: f32) -> f32 {
    if !is_allowed(word) {
        return 0.0;
    }
    return exp((logits[base + word] - largest) * params.inverse);
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
    let base = params.x_start + row * params.words;
    let chunk = (params.words + THREADS - 1u) / THREADS;
    let first = min(invocation * chunk, params.words);
    let last = min(first + chunk, params.words);

    // A row with a logit that is NaN or +infinity has no distribution.
    var own_largest = LOWEST;
    var broken = false;
    for (var word = first; word < last; word++) {
        let x = logits[base + word];
        if is_allowed(word) {
            own_largest = max(own_largest, x);
            broken = broken || (!is_finite(x) && bitcast<u32>(x) != 0xff800000u);
        }
    }
    let largest = largest_of_all(own_largest, invocation);

    var sum = 0.0;
    for (var word = first; word < last; word++) {
        sum += power(base, word, largest);
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
    // Where rounding keeps the sum below the goal, the last word with a positive probability is drawn.
    var found = NONE;
    for (var t = 0u; t < THREADS; t++) {
        if values[t] <= 0.0 {
            continue;
        }
        let passes = before + values[t] > goal;
        var within = before;
        let end = min((t + 1u) * chunk, params.words);
        for (var word = t * chunk; word < end; word++) {
            let p = power(base, word, largest);
            within += p;
            if p > 0.0 {
                found = word;
                if passes && within > goal {
                    drawn[row] = word;
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
