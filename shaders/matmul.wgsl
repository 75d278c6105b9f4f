// Matrix product C = A B of matrices with any strides; a transposed matrix has its strides exchanged.
//
//   C[i][j] = bias[j] + sum over k of A[i][k] B[k][j]        A [M, K]   B [K, N]   C [M, N]
//
// A workgroup computes one tile of C; each invocation computes 8 rows by 4 columns of it. The workgroup walks along K in
// steps of DEPTH elements. In each step, the invocations load a tile of A and a tile of B into workgroup memory, and then
// each multiplies its rows by its columns. Both tiles have k outermost, so the 8 rows and the 4 columns of an invocation
// are contiguous.
//
// Where C has too few tiles to keep the GPU busy, K is split among several workgroups. They write partial sums to a buffer
// [splits, M, N], which `matmul_sum_splits` adds, always in the same order.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    k_per_split: u32,
    a_start: u32,
    a_row: u32,
    a_column: u32,
    b_start: u32,
    b_row: u32,
    b_column: u32,
    c_start: u32,
    c_row: u32,
    bias_start: u32,
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
// A and B, bound a second time as vec4.
@group(0) @binding(5) var<storage, read> a_vec4: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> b_vec4: array<vec4<f32>>;

const DEPTH: u32 = 16;
// Invocations of a workgroup, down and across.
override DOWN: u32 = 16;
override ACROSS: u32 = 16;
// Whether neighbouring invocations load along the rows of A, and along the depth of B: the axis that is contiguous in memory.
override A_ALONG_ROWS: u32 = 0;
override B_ALONG_DEPTH: u32 = 0;
// Whether that axis can be loaded in aligned vec4s.
override A_VEC4: u32 = 0;
override B_VEC4: u32 = 0;
override ACCUMULATE: u32 = 0;
override HAS_BIAS: u32 = 0;

// One vec4 more than needed, so that invocations that store a column use different memory banks.
override A_PITCH: u32 = DOWN * 2 + 1;
override B_PITCH: u32 = ACROSS + 1;

var<workgroup> a_tile: array<vec4<f32>, DEPTH * A_PITCH>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * B_PITCH>;

fn a_at(row: u32, k: u32, end: u32) -> f32 {
    if row >= params.m || k >= end {
        return 0.0;
    }
    return a[params.a_start + row * params.a_row + k * params.a_column];
}

fn b_at(k: u32, column: u32, end: u32) -> f32 {
    if column >= params.n || k >= end {
        return 0.0;
    }
    return b[params.b_start + k * params.b_row + column * params.b_column];
}

// Reads four rows of A at one k, as one vec4 where they are contiguous.
fn a_rows(row: u32, k: u32, end: u32) -> vec4<f32> {
    if A_VEC4 == 1u {
        if row >= params.m || k >= end {
            return vec4<f32>();
        }
        return a_vec4[(params.a_start + row + k * params.a_column) / 4u];
    }
    return vec4<f32>(
        a_at(row, k, end), a_at(row + 1u, k, end), a_at(row + 2u, k, end), a_at(row + 3u, k, end),
    );
}

// Reads four columns of B at one k.
fn b_columns(k: u32, column: u32, end: u32) -> vec4<f32> {
    if B_VEC4 == 1u {
        if column >= params.n || k >= end {
            return vec4<f32>();
        }
        return b_vec4[(params.b_start + k * params.b_row + column) / 4u];
    }
    return vec4<f32>(
        b_at(k, column, end), b_at(k, column + 1u, end),
        b_at(k, column + 2u, end), b_at(k, column + 3u, end),
    );
}

// Read four k of one row of A, or of one column of B, where those are contiguous.
fn a_depths(row: u32, k: u32, end: u32) -> vec4<f32> {
    if row >= params.m || k >= end {
        return vec4<f32>();
    }
    return a_vec4[(params.a_start + row * params.a_row + k) / 4u];
}

fn b_depths(k: u32, column: u32, end: u32) -> vec4<f32> {
    if column >= params.n || k >= end {
        return vec4<f32>();
    }
    return b_vec4[(params.b_start + column * params.b_column + k) / 4u];
}

fn put(row: u32, first: u32, split: u32, sums: vec4<f32>) {
    if row >= params.m {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        let column = first + j;
        if column >= params.n {
            return;
        }
        if params.splits > 1u {
            c[(split * params.m + row) * params.n + column] = sums[j];
            continue;
        }
        let position = params.c_start + row * params.c_row + column;
        var sum = sums[j];
        if HAS_BIAS == 1u {
            sum += bias[params.bias_start + column];
        }
        if ACCUMULATE == 1u {
            sum += c[position];
        }
        c[position] = sum;
    }
}

@compute @workgroup_size(ACROSS, DOWN)
fn matmul_product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let invocations = DOWN * ACROSS;
    let first_row = group.x * DOWN * 8u;
    let first_column = group.y * ACROSS * 4u;
    let begin = group.z * params.k_per_split;
    let end = min(params.k, begin + params.k_per_split);

    var s0 = vec4<f32>(); var s1 = vec4<f32>(); var s2 = vec4<f32>(); var s3 = vec4<f32>();
    var s4 = vec4<f32>(); var s5 = vec4<f32>(); var s6 = vec4<f32>(); var s7 = vec4<f32>();
    for (var k0 = begin; k0 < end; k0 += DEPTH) {
        if A_VEC4 == 1u && A_ALONG_ROWS == 0u {
            // Loads four rows by four k, and transposes them.
            for (var i = invocation; i < DEPTH / 4u * DOWN * 2u; i += invocations) {
                let k = i % (DEPTH / 4u) * 4u;
                let slot = i / (DEPTH / 4u);
                let row = first_row + slot * 4u;
                let p = a_depths(row, k0 + k, end);
                let q = a_depths(row + 1u, k0 + k, end);
                let r = a_depths(row + 2u, k0 + k, end);
                let s = a_depths(row + 3u, k0 + k, end);
                let position = k * A_PITCH + slot;
                a_tile[position] = vec4<f32>(p.x, q.x, r.x, s.x);
                a_tile[position + A_PITCH] = vec4<f32>(p.y, q.y, r.y, s.y);
                a_tile[position + 2u * A_PITCH] = vec4<f32>(p.z, q.z, r.z, s.z);
                a_tile[position + 3u * A_PITCH] = vec4<f32>(p.w, q.w, r.w, s.w);
            }
        } else {
            for (var i = invocation; i < DEPTH * DOWN * 2u; i += invocations) {
                let k = select(i % DEPTH, i / (DOWN * 2u), A_ALONG_ROWS == 1u);
                let slot = select(i / DEPTH, i % (DOWN * 2u), A_ALONG_ROWS == 1u);
                a_tile[k * A_PITCH + slot] = a_rows(first_row + slot * 4u, k0 + k, end);
            }
        }
        if B_VEC4 == 1u && B_ALONG_DEPTH == 1u {
            for (var i = invocation; i < DEPTH / 4u * ACROSS; i += invocations) {
                let k = i % (DEPTH / 4u) * 4u;
                let slot = i / (DEPTH / 4u);
                let column = first_column + slot * 4u;
                let p = b_depths(k0 + k, column, end);
                let q = b_depths(k0 + k, column + 1u, end);
                let r = b_depths(k0 + k, column + 2u, end);
                let s = b_depths(k0 + k, column + 3u, end);
                let position = k * B_PITCH + slot;
                b_tile[position] = vec4<f32>(p.x, q.x, r.x, s.x);
                b_tile[position + B_PITCH] = vec4<f32>(p.y, q.y, r.y, s.y);
                b_tile[position + 2u * B_PITCH] = vec4<f32>(p.z, q.z, r.z, s.z);
                b_tile[position + 3u * B_PITCH] = vec4<f32>(p.w, q.w, r.w, s.w);
            }
        } else {
            for (var i = invocation; i < DEPTH * ACROSS; i += invocations) {
                let k = select(i / ACROSS, i % DEPTH, B_ALONG_DEPTH == 1u);
                let slot = select(i % ACROSS, i / DEPTH, B_ALONG_DEPTH == 1u);
                b_tile[k * B_PITCH + slot] = b_columns(k0 + k, first_column + slot * 4u, end);
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let top = a_tile[k * A_PITCH + local.y * 2u];
            let low = a_tile[k * A_PITCH + local.y * 2u + 1u];
            let q = b_tile[k * B_PITCH + local.x];
            s0 = fma(vec4<f32>(top.x), q, s0);
            s1 = fma(vec4<f32>(top.y), q, s1);
            s2 = fma(vec4<f32>(top.z), q, s2);
            s3 = fma(vec4<f32>(top.w), q, s3);
            s4 = fma(vec4<f32>(low.x), q, s4);
            s5 = fma(vec4<f32>(low.y), q, s5);
            s6 = fma(vec4<f32>(low.z), q, s6);
            s7 = fma(vec4<f32>(low.w), q, s7);
        }
        workgroupBarrier();
    }
    let row = first_row + local.y * 8u;
    let column = first_column + local.x * 4u;
    put(row, column, group.z, s0);
    put(row + 1u, column, group.z, s1);
    put(row + 2u, column, group.z, s2);
    put(row + 3u, column, group.z, s3);
    put(row + 4u, column, group.z, s4);
    put(row + 5u, column, group.z, s5);
    put(row + 6u, column, group.z, s6);
    put(row + 7u, column, group.z, s7);
}

// Adds the partial sums in `a`, [splits, M, N].
@compute @workgroup_size(256)
fn matmul_sum_splits(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.m * params.n {
        return;
    }
    let row = i / params.n;
    let column = i - row * params.n;
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        sum += a[split * params.m * params.n + i];
    }
    if HAS_BIAS == 1u {
        sum += bias[params.bias_start + column];
    }
    let position = params.c_start + row * params.c_row + column;
    if ACCUMULATE == 1u {
        sum += c[position];
    }
    c[position] = sum;
}
