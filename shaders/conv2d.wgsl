// Convolution as a matrix product whose left matrix is never stored.
//
//   y[n, i, j, o] = after(sum over ky, kx, c of  x~[n, i s + ky - p, j s + kx - p, c]  w[o, c, ky, kx])
//
// `after` adds a bias, or applies batch norm and ReLU, or changes nothing. x~ is x or, where a batch norm and ReLU come
// first, max(0, scale x + shift); outside the image it is zero. In the left matrix, a row is a pixel of the result and a
// column is one (ky, kx, c); its elements are read from x while a tile is loaded. The right matrix is the weights with
// (ky, kx, c) outermost, packed once by `conv2d_pack`.
//
// The gradient with respect to x is such a product too: a row is a pixel of dx, a column one (ky, kx, o), and the elements
// are read from dy, zero where i s + ky - p = u has no integer i. In the gradient with respect to w, a row is one
// (ky, kx, c) and the sum runs over the pixels of dy. As those are many, the sum is split; `conv2d_sum_weight` adds the parts.
//
// "source" is the map that is read, "result" the map whose pixels are the rows: x and y, or dy and dx.

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

// The type of the operands. The f16 variant of this file replaces these two lines; sums are f32 in either case.
alias Operand = f32;
alias Operands = vec4<f32>;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
// The unpacked weights, [O, C, kh, kw], in `conv2d_pack`; dy in `conv2d_grad_weight`.
@group(0) @binding(2) var<storage, read> weight: array<f32>;
// A folded batch norm of the source, [4, source channels]: scale, shift, and two rows that are not read here.
@group(0) @binding(3) var<storage, read> norm: array<f32>;
// The operation after the sum: a bias, [columns], or a folded batch norm, [4, columns], of which scale and shift are read.
@group(0) @binding(4) var<storage, read> after: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
// `source` and `weight`, bound a second time as vec4.
@group(0) @binding(6) var<storage, read> source_vec4: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> weight_vec4: array<vec4<f32>>;
// The packed weights, [depth, columns]; the same buffer as vec4; and the output of `conv2d_pack`.
@group(0) @binding(8) var<storage, read> packed: array<Operand>;
@group(0) @binding(9) var<storage, read> packed_vec4: array<Operands>;
@group(0) @binding(10) var<storage, read_write> packed_to: array<Operand>;

const DEPTH: u32 = 16;
override DOWN: u32 = 16;
override ACROSS: u32 = 16;
// Whether the source is normalised.
override NORM: u32 = 0;
// The operation after the sum: 0 none, 1 a bias is added, 2 batch norm and ReLU.
override AFTER: u32 = 0;
// Whether the source is dy and the result dx.
override BACKWARD: u32 = 0;
// Whether four neighbouring channels can be loaded as one aligned vec4.
override SOURCE_VEC4: u32 = 0;
override WEIGHT_VEC4: u32 = 0;

override SOURCE_PITCH: u32 = DOWN * 2 + 1;
override WEIGHT_PITCH: u32 = ACROSS + 1;

var<workgroup> source_tile: array<Operands, DEPTH * SOURCE_PITCH>;
var<workgroup> weight_tile: array<Operands, DEPTH * WEIGHT_PITCH>;
// Three numbers for each row of the tile. In `conv2d_forward`: the first pixel of its image (or -1 beyond the last row),
// and the row and column of the pixel under the kernel's corner. In `conv2d_grad_weight`: the channel (or -1), and the
// offset of the tap.
var<workgroup> row_origins: array<vec3<i32>, DOWN * 8>;

fn source_at(pixel: u32, channel: u32) -> f32 {
    let value = source[params.source_start + pixel * params.source_stride + channel];
    if NORM == 1u {
        let scale = norm[params.norm_start + channel];
        let shift = norm[params.norm_start + params.source_channels + channel];
        return max(0.0, fma(value, scale, shift));
    }
    return value;
}

// Reads four channels of a source pixel.
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

// Returns the source pixel of a row under a tap, or -1 where there is none. `tap` is the row and the column of the tap in
// the kernel. With BACKWARD, the source pixel is that i with i s + ky - p = u, if there is one.
fn pixel_under(row: u32, tap: vec2<i32>) -> i32 {
    let origin = row_origins[row];
    if origin.x < 0 {
        return -1;
    }
    var y = origin.y + tap.x;
    var x = origin.z + tap.y;
    if BACKWARD == 1u {
        y = origin.y - tap.x;
        x = origin.z - tap.y;
        let stride = vec2<i32>(i32(params.stride_y), i32(params.stride_x));
        if y < 0 || x < 0 || y % stride.x != 0 || x % stride.y != 0 {
            return -1;
        }
        y /= stride.x;
        x /= stride.y;
    }
    if y < 0 || x < 0 || y >= i32(params.source_height) || x >= i32(params.source_width) {
        return -1;
    }
    return origin.x + y * i32(params.source_width) + x;
}

// Read one channel, or four channels, of a row under a tap; zero where there is no pixel.
fn tap_at(row: u32, tap: vec2<i32>, channel: u32) -> f32 {
    let pixel = pixel_under(row, tap);
    if pixel < 0 {
        return 0.0;
    }
    return source_at(u32(pixel), channel);
}

fn tap_vec4_at(row: u32, tap: vec2<i32>, channel: u32) -> vec4<f32> {
    let pixel = pixel_under(row, tap);
    if pixel < 0 {
        return vec4<f32>();
    }
    return source_vec4_at(u32(pixel), channel);
}

// Returns the row and the column of tap number `tap` in the kernel.
fn tap_offset(tap: u32) -> vec2<i32> {
    let y = tap / params.kernel_width;
    return vec2<i32>(i32(y), i32(tap - y * params.kernel_width));
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

fn put(row: u32, first: u32, split: u32, sums: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        let column = first + j;
        if column >= params.columns {
            return;
        }
        if params.splits > 1u {
            result[(split * params.rows + row) * params.columns + column] = sums[j];
        } else {
            result[params.result_start + row * params.result_stride + column] = finish(sums[j], column);
        }
    }
}

fn weight_at(k: u32, column: u32, end: u32) -> Operand {
    if k >= end || column >= params.columns {
        return Operand();
    }
    return packed[params.weight_start + k * params.columns + column];
}

// Reads four columns of the packed weights.
fn weights_at(k: u32, column: u32, end: u32) -> Operands {
    if WEIGHT_VEC4 == 1u {
        if k >= end || column >= params.columns {
            return Operands();
        }
        return packed_vec4[(params.weight_start + k * params.columns + column) / 4u];
    }
    return Operands(
        weight_at(k, column, end), weight_at(k, column + 1u, end),
        weight_at(k, column + 2u, end), weight_at(k, column + 3u, end),
    );
}

@compute @workgroup_size(ACROSS, DOWN)
fn conv2d_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let invocations = DOWN * ACROSS;
    let first_row = group.x * DOWN * 8u;
    let first_column = group.y * ACROSS * 4u;
    let begin = group.z * params.depth_per_split;
    let end = min(params.depth, begin + params.depth_per_split);

    for (var i = invocation; i < DOWN * 8u; i += invocations) {
        let row = first_row + i;
        if row >= params.rows {
            row_origins[i] = vec3<i32>(-1, 0, 0);
            continue;
        }
        let pixels = params.result_height * params.result_width;
        let image = row / pixels;
        let y = (row - image * pixels) / params.result_width;
        let x = row - image * pixels - y * params.result_width;
        let base = i32(image * params.source_height * params.source_width);
        if BACKWARD == 1u {
            row_origins[i] = vec3<i32>(base, i32(y + params.padding_y), i32(x + params.padding_x));
        } else {
            row_origins[i] = vec3<i32>(
                base,
                i32(y * params.stride_y) - i32(params.padding_y),
                i32(x * params.stride_x) - i32(params.padding_x),
            );
        }
    }
    workgroupBarrier();

    var s0 = vec4<f32>(); var s1 = vec4<f32>(); var s2 = vec4<f32>(); var s3 = vec4<f32>();
    var s4 = vec4<f32>(); var s5 = vec4<f32>(); var s6 = vec4<f32>(); var s7 = vec4<f32>();
    for (var k0 = begin; k0 < end; k0 += DEPTH) {
        // Neighbouring invocations load neighbouring channels.
        if SOURCE_VEC4 == 1u {
            for (var i = invocation; i < DEPTH / 4u * DOWN * 2u; i += invocations) {
                let k = i % (DEPTH / 4u) * 4u;
                let slot = i / (DEPTH / 4u);
                var a = vec4<f32>(); var b = vec4<f32>(); var c = vec4<f32>(); var d = vec4<f32>();
                if k0 + k < end {
                    let tap = (k0 + k) / params.source_channels;
                    let channel = k0 + k - tap * params.source_channels;
                    let at = tap_offset(tap);
                    a = tap_vec4_at(slot * 4u, at, channel);
                    b = tap_vec4_at(slot * 4u + 1u, at, channel);
                    c = tap_vec4_at(slot * 4u + 2u, at, channel);
                    d = tap_vec4_at(slot * 4u + 3u, at, channel);
                }
                let position = k * SOURCE_PITCH + slot;
                source_tile[position] = Operands(vec4<f32>(a.x, b.x, c.x, d.x));
                source_tile[position + SOURCE_PITCH] = Operands(vec4<f32>(a.y, b.y, c.y, d.y));
                source_tile[position + 2u * SOURCE_PITCH] = Operands(vec4<f32>(a.z, b.z, c.z, d.z));
                source_tile[position + 3u * SOURCE_PITCH] = Operands(vec4<f32>(a.w, b.w, c.w, d.w));
            }
        } else {
            for (var i = invocation; i < DEPTH * DOWN * 2u; i += invocations) {
                let k = i % DEPTH;
                let slot = i / DEPTH;
                var values = vec4<f32>();
                if k0 + k < end {
                    let tap = (k0 + k) / params.source_channels;
                    let channel = k0 + k - tap * params.source_channels;
                    let at = tap_offset(tap);
                    values = vec4<f32>(
                        tap_at(slot * 4u, at, channel), tap_at(slot * 4u + 1u, at, channel),
                        tap_at(slot * 4u + 2u, at, channel), tap_at(slot * 4u + 3u, at, channel),
                    );
                }
                source_tile[k * SOURCE_PITCH + slot] = Operands(values);
            }
        }
        for (var i = invocation; i < DEPTH * ACROSS; i += invocations) {
            let k = i / ACROSS;
            let slot = i % ACROSS;
            weight_tile[k * WEIGHT_PITCH + slot] = weights_at(k0 + k, first_column + slot * 4u, end);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let top = vec4<f32>(source_tile[k * SOURCE_PITCH + local.y * 2u]);
            let low = vec4<f32>(source_tile[k * SOURCE_PITCH + local.y * 2u + 1u]);
            let q = vec4<f32>(weight_tile[k * WEIGHT_PITCH + local.x]);
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

// Rows are (ky, kx, c), columns are o, and the sum runs over the pixels of dy, which is bound as `weight`. The result_* sizes
// are those of dy. The partial sums go to `result`, [splits, rows, columns].
@compute @workgroup_size(ACROSS, DOWN)
fn conv2d_grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let invocations = DOWN * ACROSS;
    let first_row = group.x * DOWN * 8u;
    let first_column = group.y * ACROSS * 4u;
    let begin = group.z * params.depth_per_split;
    let end = min(params.depth, begin + params.depth_per_split);

    for (var i = invocation; i < DOWN * 8u; i += invocations) {
        let row = first_row + i;
        let tap = row / params.source_channels;
        let ky = tap / params.kernel_width;
        let kx = tap - ky * params.kernel_width;
        let channel = select(-1, i32(row - tap * params.source_channels), row < params.rows);
        row_origins[i] = vec3<i32>(
            channel,
            i32(ky) - i32(params.padding_y),
            i32(kx) - i32(params.padding_x),
        );
    }
    workgroupBarrier();

    var s0 = vec4<f32>(); var s1 = vec4<f32>(); var s2 = vec4<f32>(); var s3 = vec4<f32>();
    var s4 = vec4<f32>(); var s5 = vec4<f32>(); var s6 = vec4<f32>(); var s7 = vec4<f32>();
    for (var k0 = begin; k0 < end; k0 += DEPTH) {
        for (var i = invocation; i < DEPTH * DOWN * 2u; i += invocations) {
            let k = i / (DOWN * 2u);
            let slot = i % (DOWN * 2u);
            var values = vec4<f32>();
            if k0 + k < end {
                let pixels = params.result_height * params.result_width;
                let image = (k0 + k) / pixels;
                let pixel = k0 + k - image * pixels;
                let i_y = pixel / params.result_width;
                let y = i32(i_y * params.stride_y);
                let x = i32((pixel - i_y * params.result_width) * params.stride_x);
                let base = i32(image * params.source_height * params.source_width);
                if SOURCE_VEC4 == 1u {
                    // Four channels of one tap.
                    let origin = row_origins[slot * 4u];
                    let at = vec2<i32>(y + origin.y, x + origin.z);
                    let inside = at.x >= 0 && at.y >= 0
                        && at.x < i32(params.source_height) && at.y < i32(params.source_width);
                    if origin.x >= 0 && inside {
                        values = source_vec4_at(
                            u32(base + at.x * i32(params.source_width) + at.y),
                            u32(origin.x),
                        );
                    }
                } else {
                    for (var j = 0u; j < 4u; j++) {
                        let origin = row_origins[slot * 4u + j];
                        let at = vec2<i32>(y + origin.y, x + origin.z);
                        let inside = at.x >= 0 && at.y >= 0
                            && at.x < i32(params.source_height) && at.y < i32(params.source_width);
                        if origin.x >= 0 && inside {
                            values[j] = source_at(
                                u32(base + at.x * i32(params.source_width) + at.y),
                                u32(origin.x),
                            );
                        }
                    }
                }
            }
            source_tile[k * SOURCE_PITCH + slot] = Operands(values);
        }
        for (var i = invocation; i < DEPTH * ACROSS; i += invocations) {
            let k = i / ACROSS;
            let slot = i % ACROSS;
            let column = first_column + slot * 4u;
            let position = params.weight_start + (k0 + k) * params.result_stride + column;
            var values = vec4<f32>();
            if WEIGHT_VEC4 == 1u {
                if k0 + k < end && column < params.columns {
                    values = weight_vec4[position / 4u];
                }
            } else {
                for (var j = 0u; j < 4u; j++) {
                    if k0 + k < end && column + j < params.columns {
                        values[j] = weight[position + j];
                    }
                }
            }
            weight_tile[k * WEIGHT_PITCH + slot] = Operands(values);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let top = vec4<f32>(source_tile[k * SOURCE_PITCH + local.y * 2u]);
            let low = vec4<f32>(source_tile[k * SOURCE_PITCH + local.y * 2u + 1u]);
            let q = vec4<f32>(weight_tile[k * WEIGHT_PITCH + local.x]);
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
    put_part(row, column, group.z, s0);
    put_part(row + 1u, column, group.z, s1);
    put_part(row + 2u, column, group.z, s2);
    put_part(row + 3u, column, group.z, s3);
    put_part(row + 4u, column, group.z, s4);
    put_part(row + 5u, column, group.z, s5);
    put_part(row + 6u, column, group.z, s6);
    put_part(row + 7u, column, group.z, s7);
}

fn put_part(row: u32, first: u32, split: u32, sums: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        if row < params.rows && first + j < params.columns {
            result[(split * params.rows + row) * params.columns + first + j] = sums[j];
        }
    }
}

// Adds the partial sums in `source`, [splits, (ky, kx, c), O], into `result`, [O, C, kh, kw].
@compute @workgroup_size(256)
fn conv2d_sum_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.rows * params.columns {
        return;
    }
    let row = i / params.columns;
    let o = i - row * params.columns;
    let tap = row / params.source_channels;
    let channel = row - tap * params.source_channels;
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        sum += source[split * params.rows * params.columns + i];
    }
    let taps = params.kernel_height * params.kernel_width;
    result[(o * params.source_channels + channel) * taps + tap] = sum;
}

// Adds the partial sums in `source`, [splits, rows, columns], of a product that was split.
@compute @workgroup_size(256)
fn conv2d_sum_splits(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.rows * params.columns {
        return;
    }
    let row = i / params.columns;
    let column = i - row * params.columns;
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        sum += source[split * params.rows * params.columns + i];
    }
    result[params.result_start + row * params.result_stride + column] = finish(sum, column);
}

// Packs weights [O, C, kh, kw] as [(ky, kx, c), O]; with BACKWARD as [(ky, kx, o), C]. `depth` is the number of rows of the
// packed matrix, and `source_channels` is C, or O.
@compute @workgroup_size(256)
fn conv2d_pack(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
) {
    let i = element_index(group, groups, invocation);
    if i >= params.depth * params.columns {
        return;
    }
    let k = i / params.columns;
    let column = i - k * params.columns;
    let tap = k / params.source_channels;
    let channel = k - tap * params.source_channels;
    let taps = params.kernel_height * params.kernel_width;
    var position = (column * params.source_channels + channel) * taps + tap;
    if BACKWARD == 1u {
        position = (channel * params.columns + column) * taps + tap;
    }
    packed_to[i] = Operand(weight[params.weight_start + position]);
}
