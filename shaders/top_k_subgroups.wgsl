// The variant of top_k.wgsl for GPUs with subgroup operations, which compare values without workgroup memory.
//
// There each search needs ten barriers and two uniform loads, here two barriers: each subgroup finds its first word, one of
// its invocations stores it in workgroup memory, and every invocation reads the results of all subgroups.

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
// Subgroups of a workgroup at most: 256 invocations in subgroups of four.
const MAX_SUBGROUPS: u32 = 64;

var<workgroup> values: array<f32, MAX_SUBGROUPS>;
var<workgroup> words: array<u32, MAX_SUBGROUPS>;

// Returns whether (x, i) comes before (y, j).
fn before(x: f32, i: u32, y: f32, j: u32) -> bool {
    return i != NONE && (j == NONE || x > y || (x == y && i < j));
}

@compute @workgroup_size(256)
fn top_k_subgroups_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
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
    own_largest = subgroupMax(own_largest);
    if lane == 0u {
        values[subgroup] = own_largest;
    }
    workgroupBarrier();
    var largest = LOWEST;
    for (var i = 0u; i < subgroups; i++) {
        largest = max(largest, values[i]);
    }
    workgroupBarrier();

    var sum = 0.0;
    for (var i = invocation; i < params.words; i += 256u) {
        sum += exp(logits[base + i] - largest);
    }
    sum = subgroupAdd(sum);
    if lane == 0u {
        values[subgroup] = sum;
    }
    workgroupBarrier();
    if invocation == 0u {
        var total = 0.0;
        for (var i = 0u; i < subgroups; i++) {
            total += values[i];
        }
        chosen[out] = bitcast<u32>(largest + log(total));
    }
    workgroupBarrier();

    var last_value = 0.0;
    var last_word = NONE;
    for (var n = 0u; n < params.k; n++) {
        var best = LOWEST;
        var word = NONE;
        for (var i = invocation; i < params.words; i += 256u) {
            let value = logits[base + i];
            let free = all(params.barred != vec4<u32>(i)) && (params.only == NONE || params.only == i);
            // If the previous search has found no word, `before` returns false and this one finds none either.
            let later = n == 0u || before(last_value, last_word, value, i);
            if free && later && before(value, i, best, word) {
                best = value;
                word = i;
            }
        }
        // An invocation without a word has the lowest value, and NONE as its word, which is the largest number.
        let first = subgroupMax(select(best, LOWEST, word == NONE));
        let first_word = subgroupMin(select(NONE, word, best == first));
        if lane == 0u {
            values[subgroup] = first;
            words[subgroup] = first_word;
        }
        workgroupBarrier();
        last_value = LOWEST;
        last_word = NONE;
        for (var i = 0u; i < subgroups; i++) {
            if before(values[i], words[i], last_value, last_word) {
                last_value = values[i];
                last_word = words[i];
            }
        }
        workgroupBarrier();
        if invocation == 0u {
            chosen[out + 1u + 2u * n] = last_word;
            chosen[out + 2u + 2u * n] = bitcast<u32>(last_value);
        }
    }
}
