"use strict";
// Where pictures stand, and how a trial is drawn on its canvas.

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// Where pictures stand, in their own pixels; the fixation cross is in the middle.
function layOut(design, pictures) {
  const sizes = pictures.map((id) => design.sizes_px[id]);
  const band = pictures.length > 1 ? design.px_per_deg * 1.5 : 0;
  const width = sum(sizes.map((s) => s[0])) + design.gap_px * (sizes.length - 1);
  const height = Math.max(...sizes.map((s) => s[1])) + 2 * band;
  let left = 0;
  const areas = sizes.map(([w, h]) => {
    const area = { left, top: (height - h) / 2, width: w, height: h };
    left += w + design.gap_px;
    return area;
  });
  return { width, height, areas };
}

function makePainter(design, scale) {
  const layouts = design.trials.map((trial) => layOut(design, trial.pictures));
  const size = {
    width: Math.max(...layouts.map((l) => l.width), 4 * design.fixation_px),
    height: Math.max(...layouts.map((l) => l.height), 4 * design.fixation_px),
  };
  const ratio = window.devicePixelRatio || 1;
  const zoom = scale * ratio;
  const ink = design.background > 127 ? "#000" : "#fff";
  const newCanvas = () => {
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(size.width * zoom);
    canvas.height = Math.round(size.height * zoom);
    return canvas;
  };
  const canvas = newCanvas();
  canvas.className = "trial";
  canvas.style.width = `${canvas.width / ratio}px`;
  canvas.style.height = `${canvas.height / ratio}px`;
  const context = canvas.getContext("2d", { alpha: false });

  const clear = (target = context) => {
    target.fillStyle = `rgb(${design.background}, ${design.background}, ${design.background})`;
    target.fillRect(0, 0, canvas.width, canvas.height);
  };
  const shift = (layout) => ({
    x: (size.width - layout.width) / 2,
    y: (size.height - layout.height) / 2,
  });
  const write = (text, x, y, target = context) => {
    target.fillStyle = ink;
    target.font = `${Math.max(Math.round(design.px_per_deg * 0.7 * zoom), 12)}px sans-serif`;
    Object.assign(target, { textAlign: "center", textBaseline: "middle" });
    target.fillText(text, x * zoom, y * zoom);
  };
  const put = (target, image, left, top, width, height) => {
    target.imageSmoothingEnabled = true;
    target.imageSmoothingQuality = "high";
    const [x, y, w, h] = [left, top, width, height].map((v) => Math.round(v * zoom));
    target.drawImage(image, x, y, w, h);
  };

  return {
    canvas,
    clear,
    // Pictures at their final size, so that the onset is one copy.
    prepare(number, images, labels) {
      const stage = newCanvas();
      const target = stage.getContext("2d", { alpha: false });
      clear(target);
      const { x, y } = shift(layouts[number]);
      layouts[number].areas.forEach((area, i) => {
        put(target, images[i], x + area.left, y + area.top, area.width, area.height);
        const middle = x + area.left + area.width / 2;
        const below = y + layouts[number].height - design.px_per_deg * 0.75;
        if (labels[i]) write(labels[i], middle, below, target);
      });
      return stage;
    },
    copy(stage) {
      context.drawImage(stage, 0, 0);
    },
    target(image) {
      clear();
      const fit = Math.min(1, size.width / image.naturalWidth, size.height / image.naturalHeight);
      const [w, h] = [image.naturalWidth * fit, image.naturalHeight * fit];
      put(context, image, (size.width - w) / 2, (size.height - h) / 2, w, h);
    },
    fixation() {
      clear();
      const half = (design.fixation_px / 2) * zoom;
      const [x, y] = [canvas.width / 2, canvas.height / 2].map(Math.round);
      const line = Math.max(Math.round(2 * ratio), 2);
      context.fillStyle = ink;
      context.fillRect(x - half, y - line / 2, 2 * half, line);
      context.fillRect(x - line / 2, y - half, line, 2 * half);
    },
    say(text) {
      clear();
      write(text, size.width / 2, size.height / 2);
    },
    note(text) {
      write(text, size.width / 2, size.height - design.px_per_deg / 2);
    },
    // Picture under a point of the canvas, and the point in pixels of that picture.
    find(number, x, y) {
      const origin = shift(layouts[number]);
      const [px, py] = [x / scale - origin.x, y / scale - origin.y];
      const place = layouts[number].areas.findIndex(
        (a) => px >= a.left && px < a.left + a.width && py >= a.top && py < a.top + a.height,
      );
      if (place < 0) return null;
      const area = layouts[number].areas[place];
      return { place, point: [px - area.left, py - area.top] };
    },
  };
}
