// top_k.wgsl where the threads of a subgroup can compare without going through memory.
//
// There every comparison of all threads takes nine barriers, here two: each subgroup finds its first, one thread of each
// leaves it in shared memory, and every thread looks through what they left.

struct Params {
    rows: u32,
    words: u32,
    k: u32,
    x_start: u32,
    // Words that may not be chosen; NONE where there are fewer.
    barred: vec4<u32>,
    // The only one that may be, or NONE.
    only: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
// For each row: the logarithm's bits, then of each choice its word (NONE where there is none) and its logit's bits.
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;

const NONE: u32 = 0xffffffffu;
const LEAST: f32 = -3.402823e38;
// Subgroups of a workgroup at most: those of four threads.
const MOST: u32 = 64;

var<workgroup> values: array<f32, MOST>;
var<workgroup> places: array<u32, MOST>;

// Whether (x, i) comes before (y, j).
fn before(x: f32, i: u32, y: f32, j: u32) -> bool {
    return i != NONE && (j == NONE || x > y || (x == y && i < j));
}

@compute @workgroup_size(256)
fn top_k_subgroups_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= params.rows {
        return;
    }
    let base = params.x_start + row * params.words;
    let out = row * (1u + 2u * params.k);

    var most = LEAST;
    for (var i = thread; i < params.words; i += 256u) {
        most = max(most, logits[base + i]);
    }
    most = subgroupMax(most);
    if lane == 0u {
        values[subgroup] = most;
    }
    workgroupBarrier();
    var largest = LEAST;
    for (var i = 0u; i < subgroups; i++) {
        largest = max(largest, values[i]);
    }
    workgroupBarrier();

    var sum = 0.0;
    for (var i = thread; i < params.words; i += 256u) {
        sum += exp(logits[base + i] - largest);
    }
    sum = subgroupAdd(sum);
    if lane == 0u {
        values[subgroup] = sum;
    }
    workgroupBarrier();
    if thread == 0u {
        var total = 0.0;
        for (var i = 0u; i < subgroups; i++) {
            total += values[i];
        }
        chosen[out] = bitcast<u32>(largest + log(total));
    }
    workgroupBarrier();

    var last_value = 0.0;
    var last_place = NONE;
    for (var n = 0u; n < params.k; n++) {
        var best = LEAST;
        var place = NONE;
        for (var i = thread; i < params.words; i += 256u) {
            let value = logits[base + i];
            let free = all(params.barred != vec4<u32>(i)) && (params.only == NONE || params.only == i);
            // After the last one of all there is none.
            let later = n == 0u || before(last_value, last_place, value, i);
            if free && later && before(value, i, best, place) {
                best = value;
                place = i;
            }
        }
        // A thread without a word has the least value, and NONE for its place, which is the largest.
        let first = subgroupMax(select(best, LEAST, place == NONE));
        let first_place = subgroupMin(select(NONE, place, best == first));
        if lane == 0u {
            values[subgroup] = first;
            places[subgroup] = first_place;
        }
        workgroupBarrier();
        last_value = LEAST;
        last_place = NONE;
        for (var i = 0u; i < subgroups; i++) {
            if before(values[i], places[i], last_value, last_place) {
                last_value = values[i];
                last_place = places[i];
            }
        }
        workgroupBarrier();
        if thread == 0u {
            chosen[out + 1u + 2u * n] = last_place;
            chosen[out + 2u + 2u * n] = bitcast<u32>(last_value);
        }
    }
}
