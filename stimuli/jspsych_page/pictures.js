"use strict";
// Pictures: loaded block by block and decoded before they are needed.

const WAITS_MS = [300, 1500]; // before the second and the third attempt
const LONGEST_LOAD_MS = 30000;

function wait(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function decodedImage(address) {
  const image = new Image();
  image.src = address;
  const late = wait(LONGEST_LOAD_MS).then(() => {
    throw new Error(`${address} is late`);
  });
  await Promise.race([image.decode(), late]);
  return image;
}

function makeLoader() {
  const held = new Map();

  async function load(file) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        // Another address, for a browser may remember that the first one failed.
        return await decodedImage(attempt ? `${file}?again=${Date.now()}` : file);
      } catch (error) {
        if (attempt >= WAITS_MS.length) throw error;
        await wait(WAITS_MS[attempt]);
      }
    }
  }

  function begin(file) {
    if (!held.has(file)) {
      const entry = { image: null, promise: null };
      entry.promise = load(file).then(
        (image) => {
          entry.image = image;
        },
        () => {
          held.delete(file);
        },
      );
      held.set(file, entry);
    }
    return held.get(file).promise;
  }

  return {
    // Load all, some at a time; returns the files that could not be loaded.
    async loadAll(files, nAtOnce, onEach = () => {}) {
      const waiting = [...files];
      const worker = async () => {
        while (waiting.length) {
          await begin(waiting.shift());
          onEach(files.length - waiting.length);
        }
      };
      await Promise.all(Array.from({ length: nAtOnce }, worker));
      return files.filter((file) => !held.get(file)?.image);
    },
    image(file) {
      return held.get(file)?.image ?? null;
    },
    keepOnly(files) {
      const wanted = new Set(files);
      for (const file of [...held.keys()]) if (!wanted.has(file)) held.delete(file);
    },
  };
}
