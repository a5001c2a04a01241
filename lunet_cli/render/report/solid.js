// Volumes in three dimensions, without a library: voxels as small rectangles, the nearest on top.

const GREY = [150, 150, 150];
const NUMBERS = 7; // per voxel of a surface: its index, where it lies in mm, and where it faces

/** A function that draws a case as it looks from somewhere; surfaces are found when they are first asked for. */
function setUpScene(item, image, reference, prediction) {
  const inside = { reference: (v) => reference[v] > 0, prediction: (v) => prediction[v] > 0, error: (v) => reference[v] > 0 || prediction[v] > 0 };
  const surfaces = {};
  const surface = (name) => (surfaces[name] ??= surfaceOf(item, inside[name]));
  return (name, turn, tilt, values, colors) => {
    const all = surface("error"), camera = cameraOf(item, all, turn, tilt);
    return name === "image" ? brightest(item, image, camera) : nearestOf(surface(name), camera, (v) => colorOf(colors, values[name](v)) ?? GREY);
  };
}

/** Voxels with a neighbour outside, as numbers one after another; they face where fewest others are, out of two around them. */
function surfaceOf(item, inside) {
  const [depth, rows, columns] = item.shape, [dz, dy, dx] = item.spacing_mm;
  const at = (z, y, x) => z >= 0 && y >= 0 && x >= 0 && z < depth && y < rows && x < columns && inside((z * rows + y) * columns + x);
  const found = [];
  for (let z = 0; z < depth; z++) for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
    const v = (z * rows + y) * columns + x;
    if (!inside(v)) continue;
    if (at(z - 1, y, x) && at(z + 1, y, x) && at(z, y - 1, x) && at(z, y + 1, x) && at(z, y, x - 1) && at(z, y, x + 1)) continue;
    let [fz, fy, fx] = [0, 0, 0];
    for (let k = -2; k <= 2; k++) for (let j = -2; j <= 2; j++) for (let i = -2; i <= 2; i++) {
      if (at(z + k, y + j, x + i)) { fz -= k; fy -= j; fx -= i; }
    }
    const [nx, ny, nz] = [fx / dx, fy / dy, fz / dz], length = Math.hypot(nx, ny, nz) || 1;
    found.push(v, x * dx, y * dy, z * dz, nx / length, ny / length, nz / length);
  }
  return Float32Array.from(found);
}

/** A view from the front, turned to the left and lifted by degrees, of all of a surface, or of everything without one. */
function cameraOf(item, surface, turn, tilt) {
  const sizes = [2, 1, 0].map((axis) => item.spacing_mm[axis]);
  let low = [0, 0, 0], high = [2, 1, 0].map((axis, order) => (item.shape[axis] - 1) * sizes[order]);
  if (surface.length) {
    [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]];
    for (let at = 0; at < surface.length; at += NUMBERS) {
      for (let axis = 0; axis < 3; axis++) {
        low[axis] = Math.min(low[axis], surface[at + 1 + axis]);
        high[axis] = Math.max(high[axis], surface[at + 1 + axis]);
      }
    }
  }
  const middle = low.map((value, axis) => (value + high[axis]) / 2);
  const reach = Math.hypot(...high.map((value, axis) => (value - low[axis] + sizes[axis]) / 2));
  const [cosTurn, sinTurn, cosTilt, sinTilt] = [turn, tilt].flatMap((angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)]);
  const scale = PANEL.width / 2 / reach;
  // To the right, upwards and away on the screen.
  const rotate = (x, y, z) => {
    const away = -x * sinTurn + y * cosTurn;
    return [x * cosTurn + y * sinTurn, z * cosTilt + away * sinTilt, away * cosTilt - z * sinTilt];
  };
  const [sx, sy, sz] = sizes, flat = sx * Math.abs(sinTurn) + sy * Math.abs(cosTurn);
  return {
    rotate,
    width: Math.max(1, scale * (sx * Math.abs(cosTurn) + sy * Math.abs(sinTurn))),
    height: Math.max(1, scale * (sz * Math.abs(cosTilt) + flat * Math.abs(sinTilt))),
    /** Pixel and distance of a place in mm. */
    project(x, y, z) {
      const [right, up, away] = rotate(x - middle[0], y - middle[1], z - middle[2]);
      return [PANEL.width / 2 + scale * right, PANEL.width / 2 - scale * up, away];
    },
  };
}

/** Call `paint` with the index of each pixel that a voxel covers. */
function cover(camera, x, y, paint) {
  const size = PANEL.width;
  const [left, right] = [Math.max(0, Math.round(x - camera.width / 2)), Math.min(size, Math.round(x + camera.width / 2))];
  const [top, bottom] = [Math.max(0, Math.round(y - camera.height / 2)), Math.min(size, Math.round(y + camera.height / 2))];
  for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) paint(row * size + column);
}

/** A surface in the colours of its voxels, lit from above on the left. */
function nearestOf(surface, camera, color) {
  const pixels = blank(), distance = new Float32Array(PANEL.width ** 2).fill(Infinity);
  for (let at = 0; at < surface.length; at += NUMBERS) {
    const [v, mx, my, mz, nx, ny, nz] = surface.subarray(at, at + NUMBERS);
    const [x, y, away] = camera.project(mx, my, mz), [right, up, back] = camera.rotate(nx, ny, nz);
    const light = 0.25 + 0.75 * Math.max(0, -0.35 * right + 0.45 * up - 0.82 * back);
    const [red, green, blue] = color(v);
    cover(camera, x, y, (place) => {
      if (away >= distance[place]) return;
      distance[place] = away;
      pixels.data.set([light * red, light * green, light * blue], 4 * place);
    });
  }
  return pixels;
}

/** The brightest voxel behind each pixel. */
function brightest(item, image, camera) {
  const pixels = blank(), [depth, rows, columns] = item.shape, [dz, dy, dx] = item.spacing_mm;
  const highest = new Uint8Array(PANEL.width ** 2);
  for (let z = 0, v = 0; z < depth; z++) for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++, v++) {
    const grey = image[v], [px, py] = camera.project(x * dx, y * dy, z * dz);
    cover(camera, px, py, (place) => { if (grey > highest[place]) highest[place] = grey; });
  }
  highest.forEach((grey, place) => pixels.data.set([grey, grey, grey], 4 * place));
  return pixels;
}

function blank() {
  const pixels = new ImageData(PANEL.width, PANEL.width);
  for (let place = 3; place < pixels.data.length; place += 4) pixels.data[place] = 255;
  return pixels;
}
