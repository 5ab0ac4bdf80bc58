"use strict";
// jsPsych plugin: a canvas whose phases last a number of frames.
//
// A picture that is drawn before one frame is on the screen from the next on, at the
// earliest. The onset of a phase is therefore the time stamp of the animation frame
// after the one in which it was drawn. How long the screen itself takes is not known.

var jsPsychFrameTrial = (function (jspsych) {
  const info = {
    name: "frame-trial",
    version: "1.0.0",
    parameters: {
      // Function that returns the scene, see experiment.js: canvas, phases, keys,
      // response_ms, frame_ms, find_click.
      scene: { type: jspsych.ParameterType.FUNCTION, default: undefined },
    },
    data: {
      choice: { type: jspsych.ParameterType.STRING },
      key: { type: jspsych.ParameterType.STRING },
      input: { type: jspsych.ParameterType.STRING },
      rt_ms: { type: jspsych.ParameterType.FLOAT },
      onset_ms: { type: jspsych.ParameterType.FLOAT },
      offset_ms: { type: jspsych.ParameterType.FLOAT },
      frames_shown: { type: jspsych.ParameterType.INT },
      frames_dropped: { type: jspsych.ParameterType.INT },
      left_page: { type: jspsych.ParameterType.BOOL },
      click_px: { type: jspsych.ParameterType.OBJECT },
    },
    citations: {},
  };

  // Phases in order: {name, frames (null: until the answer), draw}. Those after
  // "stimulus" up to "answer" end with the answer; then comes `scene.after(choice)`.
  class FrameTrialPlugin {
    static info = info;

    constructor(jsPsych) {
      this.jsPsych = jsPsych;
    }

    trial(display, trial) {
      const scene = trial.scene();
      const { canvas, frame_ms: frameMs } = scene;
      display.replaceChildren(canvas);
      const phases = [...scene.phases];
      const data = {
        ...{ choice: null, key: null, input: null, rt_ms: null, click_px: null },
        ...{ onset_ms: null, offset_ms: null, frames_dropped: 0, left_page: document.hidden },
      };
      let phase = null;
      let queued = phases.shift();
      let isDrawn = false; // drawn, but its first frame has not come yet
      let nFrames = 0;
      let previous = null;
      let isAnswered = false;
      let request = null;

      const isVisible = () => data.onset_ms !== null && data.offset_ms === null;

      const step = (now) => {
        if (isVisible() && previous !== null) {
          data.frames_dropped += Math.max(Math.round((now - previous) / frameMs) - 1, 0);
        }
        previous = now;
        if (isDrawn) {
          isDrawn = false;
          canvas.dataset.phase = phase.name;
          if (phase.name === "stimulus") data.onset_ms = now;
          else if (isVisible() && phase.name !== "click") data.offset_ms = now;
          if (phase.name === "end") {
            finish();
            return;
          }
        }
        nFrames += 1;
        const isTimed = scene.response_ms !== null && data.onset_ms !== null;
        if (isTimed && !isAnswered && now - data.onset_ms >= scene.response_ms) answer({});
        const isOver = phase !== null && phase.frames !== null && nFrames >= phase.frames;
        if (queued === null && isOver) queued = phases.shift();
        if (queued !== null) {
          [phase, queued] = [queued, null];
          phase.draw();
          isDrawn = true;
          nFrames = 0;
        }
        request = requestAnimationFrame(step);
      };

      const answer = ({ choice = null, key = null, input = null, time = null, click = null }) => {
        isAnswered = true;
        Object.assign(data, { choice, key, input, click_px: click });
        if (time !== null) data.rt_ms = time - data.onset_ms;
        phases.length = 0;
        phases.push(...scene.after(choice));
        queued = phases.shift();
      };

      // A time stamp of another clock would be off by hours.
      const timeOf = (event) => {
        const now = performance.now();
        return Math.abs(now - event.timeStamp) < 5000 ? event.timeStamp : now;
      };

      const onKey = (event) => {
        const name = event.key.toLowerCase();
        if (!scene.keys.has(name)) return;
        event.preventDefault();
        if (event.repeat || isAnswered || data.onset_ms === null) return;
        const time = timeOf(event);
        if (time < data.onset_ms) return;
        answer({ choice: scene.keys.get(name), key: event.key, input: "key", time });
      };

      const onPointer = (event) => {
        const time = timeOf(event);
        const place = canvas.getBoundingClientRect();
        const found = scene.find_click(event.clientX - place.left, event.clientY - place.top);
        if (found === null || data.onset_ms === null) return;
        if (phase.name === "click" && queued === null) {
          data.click_px = found.point;
          queued = phases.shift();
        } else if (!isAnswered && found.choice !== null && time >= data.onset_ms) {
          answer({ choice: found.choice, input: "click", time, click: found.point });
        }
      };

      const onVisibility = () => {
        if (document.hidden) data.left_page = true;
      };

      const finish = () => {
        document.removeEventListener("keydown", onKey, true);
        document.removeEventListener("visibilitychange", onVisibility);
        canvas.removeEventListener("pointerdown", onPointer);
        cancelAnimationFrame(request);
        data.frames_shown = Math.round((data.offset_ms - data.onset_ms) / frameMs);
        this.jsPsych.finishTrial(data);
      };

      document.addEventListener("keydown", onKey, true);
      document.addEventListener("visibilitychange", onVisibility);
      canvas.addEventListener("pointerdown", onPointer);
      request = requestAnimationFrame(step);
    }
  }

  return FrameTrialPlugin;
})(jsPsychModule);
