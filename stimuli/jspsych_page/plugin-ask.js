"use strict";
// jsPsych plugin: a page of HTML with fields and buttons. And one that waits for work.

var jsPsychAsk = (function (jspsych) {
  const info = {
    name: "ask",
    version: "1.0.0",
    parameters: {
      // HTML of the page.
      html: { type: jspsych.ParameterType.HTML_STRING, default: "" },
      // Each {name, label, help, pattern, min, max}: a text, or a number with min, max.
      fields: { type: jspsych.ParameterType.COMPLEX, array: true, default: [] },
      // Texts of the buttons.
      buttons: { type: jspsych.ParameterType.STRING, array: true, default: [] },
      // What to do on a button without leaving the page, by its number.
      actions: { type: jspsych.ParameterType.OBJECT, default: {} },
    },
    data: {
      button: { type: jspsych.ParameterType.INT },
      values: { type: jspsych.ParameterType.OBJECT },
    },
    citations: {},
  };

  class AskPlugin {
    static info = info;

    constructor(jsPsych) {
      this.jsPsych = jsPsych;
    }

    trial(display, trial) {
      const form = document.createElement("form");
      form.className = "page";
      form.noValidate = true;
      form.innerHTML = trial.html;
      const inputs = trial.fields.map((field) => {
        const label = document.createElement("label");
        label.textContent = field.label;
        const input = document.createElement("input");
        Object.assign(input, { name: field.name, autocomplete: "off", required: true });
        if (field.max) Object.assign(input, { type: "number", step: "any" });
        if (field.max) Object.assign(input, { min: field.min, max: field.max });
        label.append(input);
        form.append(label);
        return input;
      });
      const problem = document.createElement("p");
      problem.className = "problem";
      const buttons = document.createElement("div");
      buttons.className = "buttons";
      trial.buttons.forEach((text, number) => {
        const button = document.createElement("button");
        Object.assign(button, { type: "button", textContent: text });
        button.className = "jspsych-btn";
        button.addEventListener("click", () => press(number));
        buttons.append(button);
      });
      const press = (number) => {
        const wrong = inputs.find((input, i) => {
          // Not the attribute `pattern`: browsers read its signs in different ways.
          const pattern = trial.fields[i].pattern ?? "[^]*";
          return !input.checkValidity() || !new RegExp(`^(${pattern})$`).test(input.value);
        });
        if (wrong && number === 0) {
          problem.textContent = trial.fields[inputs.indexOf(wrong)].help ?? wrong.validationMessage;
          wrong.focus();
        } else if (trial.actions[number]) {
          problem.textContent = trial.actions[number]() ?? "";
        } else {
          const values = Object.fromEntries(inputs.map((i) => [i.name, i.value]));
          this.jsPsych.finishTrial({ button: number, values });
        }
      };
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        press(0);
      });
      form.append(problem, buttons);
      display.replaceChildren(form);
      inputs[0]?.focus(); // not a button: a key pressed too long must not agree
    }
  }

  return AskPlugin;
})(jsPsychModule);

var jsPsychWaitFor = (function (jspsych) {
  const info = {
    name: "wait-for",
    version: "1.0.0",
    parameters: {
      // Asynchronous function of the display element; its result becomes the data.
      work: { type: jspsych.ParameterType.FUNCTION, default: undefined },
    },
    data: { wait_ms: { type: jspsych.ParameterType.FLOAT } },
    citations: {},
  };

  class WaitForPlugin {
    static info = info;

    constructor(jsPsych) {
      this.jsPsych = jsPsych;
    }

    trial(display, trial) {
      const begun = performance.now();
      trial.work(display).then(() => {
        this.jsPsych.finishTrial({ wait_ms: performance.now() - begun });
      });
    }
  }

  return WaitForPlugin;
})(jsPsychModule);
