enable f16;
enable wgpu_cooperative_matrix;

// The forward product of conv2d.wgsl on matrix units, such as tensor cores.
//
// A subgroup multiplies SIZE x SIZE matrices of f16 in one instruction, with sums in f32. A workgroup is four subgroups;
// each computes 2 SIZE rows of the result and ACROSS SIZE columns. The source is read, normalised and rounded on its way
// into workgroup memory, row by row; the packed weights already have the layout that the instruction loads. The depth is
// a multiple of SIZE, the number of columns one of ACROSS SIZE, and the number of source channels one of four.
//
// Where the matrix units take 8 x 8 matrices, the host replaces SIZE and the matrix types by those of 8.

struct Params {
    // Pixels of the result, columns of the product, and the length of its sums.
    rows: u32,
    columns: u32,
    depth: u32,
    depth_per_split: u32,
    source_height: u32,
    source_width: u32,
    source_channels: u32,
    source_start: u32,
    source_stride: u32,
    result_height: u32,
    result_width: u32,
    result_start: u32,
    result_stride: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    padding_y: u32,
    padding_x: u32,
    splits: u32,
    weight_start: u32,
    norm_start: u32,
    after_start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// The packed weights, [depth, columns].
@group(0) @binding(2) var<storage, read> packed: array<f16>;
// A folded batch norm of the source, [4, source channels]: scale, shift, and two rows that are not read here.
@group(0) @binding(3) var<storage, read> norm: array<f32>;
// The operation after the sum: a bias, [columns], or a folded batch norm, [4, columns], of which scale and shift are read.
@group(0) @binding(4) var<storage, read> after: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
@group(0) @binding(6) var<storage, read> source_vec4: array<vec4<f32>>;

const SIZE: u32 = 16;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;

const SUBGROUPS: u32 = 4;
const DEPTH: u32 = 32;
// Elements from one row of the tile to the next: more than DEPTH, so that rows begin in different memory banks.
const PITCH: u32 = DEPTH + 8;
const ROWS: u32 = SUBGROUPS * 2 * SIZE;
// Invocations of a workgroup, and matrices side by side in its result: 2 or 4.
override THREADS: u32 = 128;
override ACROSS: u32 = 4;
override NORM: u32 = 0;
// The operation after the sum: 0 none, 1 a bias is added, 2 batch norm and ReLU.
override AFTER: u32 = 0;

var<workgroup> tile: array<f16, ROWS * PITCH>;
var<workgroup> sums: array<f32, SUBGROUPS * SIZE * SIZE>;
// For each row of the tile: the first pixel of its image (or -1 beyond the last), and the row and column of the pixel under
// the kernel's corner.
var<workgroup> row_origins: array<vec3<i32>, ROWS>;

fn source_vec4_at(pixel: u32, channel: u32) -> vec4<f32> {
    let value = source_vec4[(params.source_start + pixel * params.source_stride + channel) / 4u];
    if NORM == 1u {
        let first = params.norm_start + channel;
        let second = first + params.source_channels;
        let scale = vec4<f32>(norm[first], norm[first + 1u], norm[first + 2u], norm[first + 3u]);
        let shift = vec4<f32>(norm[second], norm[second + 1u], norm[second + 2u], norm[second + 3u]);
        return max(vec4<f32>(), fma(value, scale, shift));
    }
    return value;
}

fn tap_vec4_at(row: u32, tap: u32, channel: u32) -> vec4<f32> {
    let origin = row_origins[row];
    let ky = tap / params.kernel_width;
    let y = origin.y + i32(ky);
    let x = origin.z + i32(tap - ky * params.kernel_width);
    if origin.x < 0 || y < 0 || x < 0
        || y >= i32(params.source_height) || x >= i32(params.source_width) {
        return vec4<f32>();
    }
    return source_vec4_at(u32(origin.x + y * i32(params.source_width) + x), channel);
}

fn finish(sum: f32, column: u32) -> f32 {
    if AFTER == 1u {
        return sum + after[params.after_start + column];
    }
    if AFTER == 2u {
        let scale = after[params.after_start + column];
        return max(0.0, fma(sum, scale, after[params.after_start + params.columns + column]));
    }
    return sum;
}

// Writes the matrix that a subgroup has stored in `sums`.
fn put(subgroup: u32, lane: u32, first_row: u32, first_column: u32, split: u32) {
    workgroupBarrier();
    for (var i = lane; i < SIZE * SIZE; i += THREADS / SUBGROUPS) {
        let row = first_row + i / SIZE;
        let column = first_column + i % SIZE;
        if row < params.rows && column < params.columns {
            let sum = sums[subgroup * SIZE * SIZE + i];
            if params.splits > 1u {
                result[(split * params.rows + row) * params.columns + column] = sum;
            } else {
                result[params.result_start + row * params.result_stride + column] = finish(sum, column);
            }
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(THREADS)
fn conv2d_cooperative_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first_row = group.x * ROWS;
    let first_column = group.y * ACROSS * SIZE;
    let begin = group.z * params.depth_per_split;
    let end = min(params.depth, begin + params.depth_per_split);

    for (var i = invocation; i < ROWS; i += THREADS) {
        let row = first_row + i;
        let pixels = params.result_height * params.result_width;
        let image = row / pixels;
        let y = (row - image * pixels) / params.result_width;
        let x = row - image * pixels - y * params.result_width;
        let base = i32(image * params.source_height * params.source_width);
        row_origins[i] = vec3<i32>(
            select(-1, base, row < params.rows),
            i32(y * params.stride_y) - i32(params.padding_y),
            i32(x * params.stride_x) - i32(params.padding_x),
        );
    }
    workgroupBarrier();

    var s00 = Sums(); var s01 = Sums(); var s02 = Sums(); var s03 = Sums();
    var s10 = Sums(); var s11 = Sums(); var s12 = Sums(); var s13 = Sums();
    for (var k0 = begin; k0 < end; k0 += DEPTH) {
        for (var i = invocation; i < ROWS * DEPTH / 4u; i += THREADS) {
            let k = i % (DEPTH / 4u) * 4u;
            let row = i / (DEPTH / 4u);
            var values = vec4<f16>();
            if k0 + k < end {
                let tap = (k0 + k) / params.source_channels;
                values = vec4<f16>(tap_vec4_at(row, tap, k0 + k - tap * params.source_channels));
            }
            let position = row * PITCH + k;
            tile[position] = values.x;
            tile[position + 1u] = values.y;
            tile[position + 2u] = values.z;
            tile[position + 3u] = values.w;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH && k0 + k < end; k += SIZE) {
            let row = subgroup * 2u * SIZE;
            let upper = coopLoadT<Left>(&tile[row * PITCH + k], PITCH);
            let lower = coopLoadT<Left>(&tile[(row + SIZE) * PITCH + k], PITCH);
            let position = params.weight_start + (k0 + k) * params.columns + first_column;
            let w0 = coopLoadT<Right>(&packed[position], params.columns);
            s00 = coopMultiplyAdd(upper, w0, s00);
            s10 = coopMultiplyAdd(lower, w0, s10);
            let w1 = coopLoadT<Right>(&packed[position + SIZE], params.columns);
            s01 = coopMultiplyAdd(upper, w1, s01);
            s11 = coopMultiplyAdd(lower, w1, s11);
            if ACROSS == 4u {
                let w2 = coopLoadT<Right>(&packed[position + 2u * SIZE], params.columns);
                s02 = coopMultiplyAdd(upper, w2, s02);
                s12 = coopMultiplyAdd(lower, w2, s12);
                let w3 = coopLoadT<Right>(&packed[position + 3u * SIZE], params.columns);
                s03 = coopMultiplyAdd(upper, w3, s03);
                s13 = coopMultiplyAdd(lower, w3, s13);
            }
        }
        workgroupBarrier();
    }

    let own = subgroup * SIZE * SIZE;
    let row = first_row + subgroup * 2u * SIZE;
    coopStoreT(s00, &sums[own], SIZE);
    put(subgroup, lane, row, first_column, group.z);
    coopStoreT(s10, &sums[own], SIZE);
    put(subgroup, lane, row + SIZE, first_column, group.z);
    coopStoreT(s01, &sums[own], SIZE);
    put(subgroup, lane, row, first_column + SIZE, group.z);
    coopStoreT(s11, &sums[own], SIZE);
    put(subgroup, lane, row + SIZE, first_column + SIZE, group.z);
    if ACROSS == 4u {
        coopStoreT(s02, &sums[own], SIZE);
        put(subgroup, lane, row, first_column + 2u * SIZE, group.z);
        coopStoreT(s12, &sums[own], SIZE);
        put(subgroup, lane, row + SIZE, first_column + 2u * SIZE, group.z);
        coopStoreT(s03, &sums[own], SIZE);
        put(subgroup, lane, row, first_column + 3u * SIZE, group.z);
        coopStoreT(s13, &sums[own], SIZE);
        put(subgroup, lane, row + SIZE, first_column + 3u * SIZE, group.z);
    }
}
