// The surfaces of labels in three dimensions: voxels as small rectangles, the nearest on top.

const SOLID_EDGE = 460; // pixels
const MOST_VOXELS_ALONG = 160; // of larger labels, every second or third voxel is drawn
const REACH = 2; // voxels around one that say which way its surface faces

/** Voxels of labels that touch another or the outside; `view` is along the patient. */
function surfaceOf(labels, view, spacing) {
  const box = boxOf(labels, view);
  if (!box) return null;
  const [low, high] = box, step = Math.max(1, ...low.map((first, axis) => Math.ceil((high[axis] - first + 1) / MOST_VOXELS_ALONG)));
  const sizes = low.map((first, axis) => Math.floor((high[axis] - first) / step) + 1);
  const solid = thinned(labels, view, low, sizes, step);
  const mm = spacing.map((one) => one * step), found = { places: [], normals: [], values: [] };
  const [depth, rows, columns] = sizes, plane = (rows + 2 * REACH) * (columns + 2 * REACH), row = columns + 2 * REACH;
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const at = (z + REACH) * plane + (y + REACH) * row + x + REACH, value = solid[at];
        if (!value || isInside(solid, at, value, plane, row)) continue;
        const [fz, fy, fx] = facing(solid, at, value, plane, row);
        const normal = [fx / mm[2], fy / mm[1], fz / mm[0]], length = norm(normal) || 1;
        found.places.push(x * mm[2], y * mm[1], z * mm[0]);
        found.normals.push(...normal.map((part) => part / length));
        found.values.push(value);
      }
    }
  }
  const middle = [2, 1, 0].map((axis) => ((sizes[axis] - 1) * mm[axis]) / 2);
  const radius = norm(sizes.map((size, axis) => (size * mm[axis]) / 2));
  return { places: Float32Array.from(found.places), normals: Float32Array.from(found.normals), values: found.values, mm, middle, radius };
}

/** The first and last plane, row and column that hold a label; null where there is none. */
function boxOf(labels, view) {
  const low = [Infinity, Infinity, Infinity], high = [-1, -1, -1], [depth, rows, columns] = view.size;
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < rows; y++) {
      let at = view.offset + z * view.strides[0] + y * view.strides[1];
      for (let x = 0; x < columns; x++, at += view.strides[2]) {
        if (!labels[at]) continue;
        [z, y, x].forEach((place, axis) => {
          low[axis] = Math.min(low[axis], place);
          high[axis] = Math.max(high[axis], place);
        });
      }
    }
  }
  return high[0] < 0 ? null : [low, high];
}

/** Every `step`th voxel of a box, with a rim of nothing around it. */
function thinned(labels, view, low, [depth, rows, columns], step) {
  const row = columns + 2 * REACH, plane = (rows + 2 * REACH) * row;
  const found = new Uint16Array((depth + 2 * REACH) * plane);
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const places = [z, y, x].map((place, axis) => (low[axis] + place * step) * view.strides[axis]);
        found[(z + REACH) * plane + (y + REACH) * row + x + REACH] = labels[view.offset + places[0] + places[1] + places[2]];
      }
    }
  }
  return found;
}

function isInside(solid, at, value, plane, row) {
  return solid[at - 1] === value && solid[at + 1] === value && solid[at - row] === value
    && solid[at + row] === value && solid[at - plane] === value && solid[at + plane] === value;
}

/** Away from the voxels of the same label around it. */
function facing(solid, at, value, plane, row) {
  const sum = [0, 0, 0];
  for (let z = -REACH; z <= REACH; z++) {
    for (let y = -REACH; y <= REACH; y++) {
      for (let x = -REACH; x <= REACH; x++) {
        if (solid[at + z * plane + y * row + x] !== value) continue;
        sum[0] -= z;
        sum[1] -= y;
        sum[2] -= x;
      }
    }
  }
  return sum;
}

/** Draw a surface as it looks from the front, turned to the left and lifted by degrees. */
function drawSolid(context, surface, turn, tilt, colorOf) {
  const edge = SOLID_EDGE, pixels = new ImageData(edge, edge), nearest = new Float32Array(edge * edge).fill(Infinity);
  for (let at = 3; at < pixels.data.length; at += 4) pixels.data[at] = 255;
  if (surface) {
    const camera = cameraOf(surface, turn, tilt);
    surface.values.forEach((value, index) => splat(pixels.data, nearest, surface, index, camera, colorOf(value)));
  }
  context.putImageData(pixels, 0, 0);
}

function cameraOf({ radius, mm }, turn, tilt) {
  const radians = (degrees) => (degrees * Math.PI) / 180, scale = SOLID_EDGE / 2 / radius;
  const [cosTurn, sinTurn, cosTilt, sinTilt] = [Math.cos(radians(turn)), Math.sin(radians(turn)), Math.cos(radians(tilt)), Math.sin(radians(tilt))];
  const [sz, sy, sx] = mm, flat = sx * Math.abs(sinTurn) + sy * Math.abs(cosTurn);
  return {
    scale,
    /** To the right, upwards and away on the screen. */
    rotate(x, y, z) {
      const away = -x * sinTurn + y * cosTurn;
      return [x * cosTurn + y * sinTurn, z * cosTilt + away * sinTilt, away * cosTilt - z * sinTilt];
    },
    width: Math.max(1, scale * (sx * Math.abs(cosTurn) + sy * Math.abs(sinTurn))),
    height: Math.max(1, scale * (sz * Math.abs(cosTilt) + flat * Math.abs(sinTilt))),
  };
}

/** Paint a voxel, lit from above on the left, where it is nearer than what is there. */
function splat(data, nearest, { places, normals, middle }, index, camera, color) {
  const [x, y, z] = [0, 1, 2].map((axis) => places[3 * index + axis] - middle[axis]);
  const [right, up, away] = camera.rotate(x, y, z);
  const [nx, ny, nz] = camera.rotate(normals[3 * index], normals[3 * index + 1], normals[3 * index + 2]);
  const light = 0.25 + 0.75 * Math.max(0, -0.35 * nx + 0.45 * ny - 0.82 * nz);
  const half = SOLID_EDGE / 2, column = half + camera.scale * right, row = half - camera.scale * up;
  const within = (value) => Math.min(Math.max(Math.round(value), 0), SOLID_EDGE);
  const [left, stopX] = [within(column - camera.width / 2), within(column + camera.width / 2)];
  const [top, stopY] = [within(row - camera.height / 2), within(row + camera.height / 2)];
  for (let py = top; py < stopY; py++) {
    for (let px = left; px < stopX; px++) {
      const at = py * SOLID_EDGE + px;
      if (away >= nearest[at]) continue;
      nearest[at] = away;
      for (let part = 0; part < 3; part++) data[4 * at + part] = light * color[part];
    }
  }
}
