"use strict";
// The course of the experiment. What is shown is told by design.json and orders.json,
// what is said by texts.json, consent.html and debrief.html.
//
// Address: ?participant=CODE names the participant; &fullscreen=0 stays in the window;
// &order=3 chooses the order; &calibration=skip|card|measure answers that question;
// &px_per_mm=3.8&distance_cm=57 tells the geometry that was measured by hand.

const NAMED_KEYS = {
  space: " ",
  left: "arrowleft",
  right: "arrowright",
  up: "arrowup",
  down: "arrowdown",
  return: "enter",
  tab: "tab",
};
const LOADING_AT_ONCE = 6;
const LOADING_MEANWHILE = 2; // few, so that trials keep their frames
const MARGIN_PX = 60;

const wishes = new URLSearchParams(window.location.search);
const escape = (text) =>
  String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
const fill = (text, values) =>
  text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
const paragraph = (text) => `<p>${escape(text)}</p>`;

async function read(file) {
  const answer = await fetch(file, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
  return answer;
}

async function run(timeline) {
  // The body, for keys go there when a button that had the focus is gone. It is emptied,
  // for jsPsych adds its parts below what is there.
  document.body.replaceChildren();
  const jsPsych = initJsPsych({ display_element: document.body });
  await jsPsych.run(timeline);
  return jsPsych.data.get().values();
}

async function ask(page) {
  const [data] = await run([{ type: jsPsychAsk, ...page }]);
  return data;
}

const press = (html) => ({
  type: jsPsychHtmlKeyboardResponse,
  stimulus: `<div class="page">${html}</div>`,
  choices: [" "],
});

// ------------------------------------------------------------------ before trials

async function askParticipant(texts) {
  const told = wishes.get("participant") ?? "";
  if (PARTICIPANT.test(told)) return told;
  const field = {
    name: "participant",
    label: texts.participant,
    pattern: PARTICIPANT.source.slice(1, -1),
    help: texts.participant_help,
  };
  const page = { html: "", fields: [field], buttons: [texts.continue] };
  return (await ask(page)).values.participant;
}

async function measureFrame() {
  const times = [];
  await new Promise((resolve) => {
    const step = (now) => {
      times.push(now);
      if (times.length < 41) requestAnimationFrame(step);
      else resolve();
    };
    requestAnimationFrame(step);
  });
  const gaps = times.slice(1).map((time, i) => time - times[i]);
  return gaps.sort((a, b) => a - b)[gaps.length >> 1];
}

// CSS pixels per degree at the centre of the screen, or null where nobody measured.
async function calibrate(texts) {
  const geometry = (kind, pxPerMm, distanceMm) => ({
    calibration: kind,
    viewing_distance_cm: distanceMm / 10,
    px_per_deg: 1 / ((360 / Math.PI) * Math.atan(1 / pxPerMm / (2 * distanceMm))),
  });
  const skipped = { calibration: "skipped", viewing_distance_cm: null, px_per_deg: null };
  const [pxPerMm, cm] = ["px_per_mm", "distance_cm"].map((n) => Number(wishes.get(n)));
  if (pxPerMm > 0 && cm > 0) return geometry("told", pxPerMm, cm * 10);
  const kinds = ["measure", "card", "skip"];
  let choice = kinds.indexOf(wishes.get("calibration"));
  if (choice < 0) {
    const buttons = kinds.map((kind) => texts[kind]);
    choice = (await ask({ html: paragraph(texts.geometry), buttons })).button;
  }
  if (kinds[choice] === "skip") return skipped;
  const reps = kinds[choice] === "measure" ? 5 : 0;
  const [card] = await run([{ type: jsPsychVirtualChinrest, blindspot_reps: reps }]);
  // The plug-in rounds its own ratio to two decimals.
  const measured = card.item_width_px / card.item_width_mm;
  if (reps) return geometry("measured", measured, card.view_dist_mm);
  const field = { name: "cm", label: texts.distance, min: 10, max: 1000 };
  const typed = await ask({ fields: [field], buttons: [texts.continue] });
  return geometry("card", measured, Number(typed.values.cm) * 10);
}

// Scale in CSS pixels per pixel of a picture; smaller only if the participant says so.
async function fitScale(design, texts, geometry, size) {
  const wanted = geometry.px_per_deg ? geometry.px_per_deg / design.px_per_deg : 1;
  for (;;) {
    const room = Math.min(
      window.innerWidth / size.width,
      (window.innerHeight - MARGIN_PX) / size.height,
    );
    if (wanted <= room) return wanted;
    const percent = Math.floor((100 * room) / wanted);
    const html = paragraph(fill(texts.too_small, { percent }));
    const buttons = [texts.check_again, texts.go_smaller];
    if (wishes.get("smaller") === "1" || (await ask({ html, buttons })).button === 1) {
      return room;
    }
  }
}

function keyMap(design) {
  return new Map(design.keys.map(([answer, key]) => [NAMED_KEYS[key] ?? key.toLowerCase(), answer]));
}

// ---------------------------------------------------------------------- all trials

function makeTrials({ design, texts, order, store, session, painter, loader, frameMs }) {
  const answers = design.keys.map(([answer]) => answer);
  const labels = design.keys.map(([, key]) => key.toUpperCase());
  const isChoice = design.arrangements[0].length > 1;
  const { refresh_hz: rate, response_ms } = design.timing;
  const frames = (count) =>
    count && rate ? Math.max(1, Math.round((count * 1000) / rate / frameMs)) : count;
  const timing = Object.fromEntries(
    Object.entries(design.timing)
      .filter(([name]) => name.endsWith("_frames"))
      .map(([name, count]) => [name, frames(count)]),
  );
  const filesOf = ([number]) => {
    const trial = design.trials[number];
    const pictures = trial.pictures.map((id) => `images/${id}.png`);
    return timing.target_frames && trial.target ? [trial.target, ...pictures] : pictures;
  };
  const shownOf = ([number, arrangement]) =>
    design.arrangements[arrangement].map((i) => design.trials[number].pictures[i]);
  const responseOf = (step, choice) =>
    isChoice && choice !== null ? shownOf(step)[answers.indexOf(choice)] : choice;
  const isRight = (step, choice, clicked) => {
    const { truth, target_box_px: box } = design.trials[step[0]];
    if (truth === null) return null;
    if (choice === null || responseOf(step, choice) !== truth) return false;
    return design.click === "target" && box ? isInside(clicked, box) : true;
  };
  const isInside = (point, [left, top, right, bottom]) =>
    point !== null && point[0] >= left && point[0] < right && point[1] >= top && point[1] < bottom;

  function makeScene(step, number, isPractice) {
    const { truth, target } = design.trials[step[0]];
    const shown = shownOf(step);
    const images = shown.map((id) => loader.image(`images/${id}.png`));
    const stage = painter.prepare(step[0], images, isChoice ? labels : []);
    const phases = [{ name: "stimulus", frames: timing.stimulus_frames, draw: () => painter.copy(stage) }];
    if (timing.fixation_frames) {
      phases.unshift({ name: "fixation", frames: timing.fixation_frames, draw: painter.fixation });
    }
    if (timing.target_frames && target) {
      const draw = () => painter.target(loader.image(target));
      phases.unshift({ name: "target", frames: timing.target_frames, draw });
    }
    if (timing.mask_frames) {
      const mask = loader.image(design.masks[number % design.masks.length]);
      const masked = painter.prepare(step[0], shown.map(() => mask), []);
      const draw = () => painter.copy(masked);
      phases.push({ name: "mask", frames: timing.mask_frames, draw });
    }
    if (timing.stimulus_frames) {
      phases.push({ name: "answer", frames: null, draw: () => painter.clear() });
    }
    const canvas = painter.canvas;
    Object.assign(canvas.dataset, { phase: "", trial: number, stimulus: design.trials[step[0]].stimulus_id });
    canvas.classList.toggle("no-pointer", design.click === "none");
    const after = (choice) => {
      const rest = [];
      if (design.click === "target" && choice === "present") {
        const draw = () => {
          painter.copy(stage);
          painter.note(texts.click_now);
        };
        rest.push({ name: "click", frames: null, draw });
      }
      if ((design.feedback || isPractice) && truth !== null) {
        const isGood = responseOf(step, choice) === truth;
        const word = choice === null ? texts.late : isGood ? texts.right : texts.wrong;
        rest.push({ name: "feedback", frames: timing.feedback_frames, draw: () => painter.say(word) });
      }
      return [...rest, { name: "end", frames: 1, draw: () => painter.clear() }];
    };
    const find_click = (x, y) => {
      const found = painter.find(step[0], x, y);
      if (!found) return null;
      return { point: found.point, choice: design.click === "choose" ? answers[found.place] : null };
    };
    return { canvas, phases, after, keys: keyMap(design), response_ms, frame_ms: frameMs, find_click };
  }

  function makeRow(step, data, { number, block, isPractice, loadWait }) {
    const trial = design.trials[step[0]];
    const clicked = data.click_px;
    const pictures = shownOf(step).map((id, i) => [`picture_${i + 1}`, id]);
    const place = data.choice === null ? -1 : answers.indexOf(data.choice);
    return {
      ...trial.factors,
      ...Object.fromEntries(pictures),
      ...session,
      trial: number,
      block,
      practice: isPractice,
      task: design.task,
      stimulus_id: trial.stimulus_id,
      truth: trial.truth,
      keys: design.key_text,
      key: data.key === " " ? "space" : data.key,
      input: data.input,
      place: isChoice && place >= 0 ? place + 1 : null,
      response: responseOf(step, data.choice),
      correct: isRight(step, data.choice, clicked),
      rt_ms: data.rt_ms,
      onset_ms: data.onset_ms,
      offset_ms: data.offset_ms,
      frame_ms: frameMs,
      frames_asked: timing.stimulus_frames,
      frames_shown: data.frames_shown,
      frames_dropped: data.frames_dropped,
      left_page: data.left_page,
      load_wait_ms: loadWait,
      click_x_px: clicked?.[0],
      click_y_px: clicked?.[1],
      on_target: design.click === "target" && clicked && trial.target_box_px
        ? isInside(clicked, trial.target_box_px)
        : null,
      n_trials: order.trials.length,
    };
  }

  // Blocks: practice is the first; trials that are saved already are left out.
  const cut = (steps, isPractice) => {
    const numbered = steps.map((step, number) => ({ step, number }));
    const blocks = [];
    for (let i = 0; i < numbered.length; i += design.block_size) {
      const block = isPractice ? 0 : blocks.length + 1;
      const left = numbered
        .slice(i, i + design.block_size)
        .filter(({ number }) => number >= store.nDone(isPractice));
      blocks.push({ block, isPractice, steps: left });
    }
    return blocks.filter(({ steps: left }) => left.length);
  };
  const isBegun = store.nDone(false) > 0;
  const blocks = [...(isBegun ? [] : cut(order.practice, true)), ...cut(order.trials, false)];
  const filesIn = (block) =>
    block ? [...new Set([...design.masks, ...block.steps.flatMap(({ step }) => filesOf(step))])] : [];

  async function loadBlock(display, index) {
    const files = filesIn(blocks[index]);
    loader.keepOnly(files);
    for (;;) {
      const bar = '<progress value="0"></progress>';
      display.innerHTML = `<div class="page">${paragraph(texts.loading)}${bar}</div>`;
      const progress = display.querySelector("progress");
      progress.max = files.length;
      const failed = await loader.loadAll(files, LOADING_AT_ONCE, (n) => {
        progress.value = n;
      });
      if (!failed.length) break;
      const html = paragraph(fill(texts.load_failed, { files: failed.slice(0, 5).join(", ") }));
      display.innerHTML = `<div class="page">${html}</div>`;
      const button = document.createElement("button");
      Object.assign(button, { className: "jspsych-btn", textContent: texts.try_again });
      display.firstChild.append(button);
      await new Promise((resolve) => {
        button.addEventListener("click", resolve);
      });
    }
    // The next block comes while this one is done.
    loader.loadAll(filesIn(blocks[index + 1]), LOADING_MEANWHILE);
  }

  // A bar during trials would be one more thing to look at: it is in the pauses.
  function pauseAfter(block, next) {
    const values = { done: next.steps[0].number, all: order.trials.length };
    const text = block.isPractice ? texts.practice_over : fill(texts.pause, values);
    const bar = `<progress value="${values.done}" max="${values.all}"></progress>`;
    return press(paragraph(text) + bar);
  }

  return blocks.flatMap((own, index) => {
    let loadWait = 0;
    const load = {
      type: jsPsychWaitFor,
      work: (display) => loadBlock(display, index),
      on_finish: (data) => {
        loadWait = data.wait_ms;
      },
    };
    const trials = own.steps.map(({ step, number }, i) => ({
      type: jsPsychFrameTrial,
      scene: () => makeScene(step, number, own.isPractice),
      on_finish: (data) => {
        const place = { number, ...own, loadWait: i ? 0 : loadWait };
        store.save(makeRow(step, data, place));
      },
    }));
    const next = blocks[index + 1];
    const isPause = next && (!next.isPractice || !own.isPractice);
    return [load, ...trials, ...(isPause ? [pauseAfter(own, next)] : [])];
  });
}

function instructions(design, texts, order) {
  const lines = design.keys.map(([answer, key]) => fill(texts.key_line, { key: key.toUpperCase(), answer }));
  if (design.click === "choose") lines.push(texts.click_choice);
  if (design.click === "target") lines.push(texts.click_target);
  if (order.practice.length) lines.push(fill(texts.practice, { n: order.practice.length }));
  return press([design.prompt, ...lines, texts.begin].map(paragraph).join(""));
}

// ---------------------------------------------------------------------- the course

async function main() {
  const [design, orders, texts] = await Promise.all(
    ["design.json", "orders.json", "texts.json"].map(async (f) => (await read(f)).json()),
  );
  const [consent, debrief] = await Promise.all(
    ["consent.html", "debrief.html"].map(async (f) => (await read(f)).text()),
  );
  document.title = design.name;
  const ground = design.background;
  document.body.style.setProperty("--ground", `rgb(${ground}, ${ground}, ${ground})`);
  document.body.style.setProperty("--ink", ground > 127 ? "#000" : "#fff");

  const agreed = await ask({ html: consent, buttons: [texts.agree, texts.disagree] });
  if (agreed.button !== 0) {
    document.body.innerHTML = `<div class="page">${paragraph(texts.refused)}</div>`;
    return;
  }
  const participant = await askParticipant(texts);
  if (wishes.get("fullscreen") !== "0") {
    await document.documentElement.requestFullscreen?.().catch(() => {});
  }
  const features = ["browser", "browser_version", "os", "mobile"];
  const [checked] = await run([{ type: jsPsychBrowserCheck, features }]);
  const frameMs = await measureFrame();
  const geometry = await calibrate(texts);
  const layouts = design.trials.map((trial) => layOut(design, trial.pictures));
  const size = {
    width: Math.max(...layouts.map((l) => l.width)),
    height: Math.max(...layouts.map((l) => l.height)),
  };
  const scale = await fitScale(design, texts, geometry, size);

  const told = Number(wishes.get("order") ?? NaN);
  const isTold = Number.isInteger(told) && told >= 0 && told < orders.length;
  const number = isTold ? told : orderOf(participant, orders.length);
  const begun = new Date().toISOString();
  const fileName = `${design.name}_${participant}_${begun}.csv`.replace(/[^A-Za-z0-9._-]/g, "-");
  const store = openStore(`${design.experiment_version}/${number}`, participant);
  const save = () => saveCsv(fileName, makeCsv(design.columns, store.rows()));
  const values = { done: store.nDone(false), all: orders[number].trials.length };
  if (values.done > 0) {
    const buttons = [texts.resume_go_on, texts.resume_restart];
    const html = paragraph(fill(texts.resume, values));
    if ((await ask({ html, buttons })).button === 1) {
      save();
      store.clear();
    }
  }
  const session = {
    participant,
    session: begun,
    order: number,
    seed: design.seed,
    ...geometry,
    scale,
    window_width_px: window.innerWidth,
    window_height_px: window.innerHeight,
    device_pixel_ratio: window.devicePixelRatio,
    browser: `${checked.browser} ${checked.browser_version}, ${checked.os}${checked.mobile ? ", mobile" : ""}`,
    user_agent: navigator.userAgent,
    set_fingerprint: design.set_fingerprint,
    experiment_version: design.experiment_version,
  };
  const painter = makePainter(design, scale);
  const order = orders[number];
  const parts = { design, texts, order, store, session, painter, loader: makeLoader(), frameMs };
  const warn = (event) => event.preventDefault();
  window.addEventListener("beforeunload", warn);
  await run([instructions(design, texts, order), ...makeTrials(parts)]);
  window.removeEventListener("beforeunload", warn);
  if (document.fullscreenElement) await document.exitFullscreen();
  save();
  const forget = () => {
    store.clear();
    return texts.forgotten;
  };
  const buttons = [texts.save_again, texts.forget];
  await ask({ html: debrief, buttons, actions: { 0: () => save(), 1: forget } });
}

main().catch((error) => {
  const page = document.createElement("div");
  page.className = "page";
  page.textContent =
    window.location.protocol === "file:"
      ? "A browser does not read this experiment from a folder. Start a server there, " +
        "such as: python -m http.server"
      : `The experiment cannot start: ${error.message}`;
  document.body.replaceChildren(page);
});
