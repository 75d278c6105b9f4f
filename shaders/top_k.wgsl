// The k likeliest words of each row of logits, and the logarithm of the row's sum of powers.
//
// A workgroup takes a row. The largest is found k times over, each time among those that come after the one before in
// the order "larger first, of equals the lower word". Words on a short list are left out.

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

var<workgroup> values: array<f32, 256>;
var<workgroup> places: array<u32, 256>;

// Whether (x, i) comes before (y, j).
fn before(x: f32, i: u32, y: f32, j: u32) -> bool {
    return i != NONE && (j == NONE || x > y || (x == y && i < j));
}

fn first_of_all(value: f32, place: u32, thread: u32) {
    workgroupBarrier();
    values[thread] = value;
    places[thread] = place;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if thread < step {
            let other = thread + step;
            if before(values[other], places[other], values[thread], places[thread]) {
                values[thread] = values[other];
                places[thread] = places[other];
            }
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(256)
fn top_k_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
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
    first_of_all(most, thread, thread);
    let largest = values[0];
    var sum = 0.0;
    for (var i = thread; i < params.words; i += 256u) {
        sum += exp(logits[base + i] - largest);
    }
    workgroupBarrier();
    values[thread] = sum;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if thread < step {
            values[thread] += values[thread + step];
        }
        workgroupBarrier();
    }
    if thread == 0u {
        chosen[out] = bitcast<u32>(largest + log(values[0]));
    }

    var last_value = 0.0;
    var last_place = NONE;
    for (var n = 0u; n < params.k; n++) {
        var best = LEAST;
        var place = NONE;
        for (var i = thread; i < params.words; i += 256u) {
            let value = logits[base + i];
            let free = all(params.barred != vec4<u32>(i)) && (params.only == NONE || params.only == i);
            let later = last_place == NONE || before(last_value, last_place, value, i);
            if free && later && before(value, i, best, place) {
                best = value;
                place = i;
            }
        }
        first_of_all(best, place, thread);
        last_value = workgroupUniformLoad(&values[0]);
        last_place = workgroupUniformLoad(&places[0]);
        if thread == 0u {
            chosen[out + 1u + 2u * n] = last_place;
            chosen[out + 2u + 2u * n] = bitcast<u32>(last_value);
        }
        // Once there is no further word, the others stay empty.
        if last_place == NONE {
            for (var m = n + 1u; m < params.k; m++) {
                if thread == 0u {
                    chosen[out + 1u + 2u * m] = NONE;
                }
            }
            break;
        }
    }
}
