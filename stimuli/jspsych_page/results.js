"use strict";
// Answers: kept in the browser after each trial, given as CSV at the end.

const PARTICIPANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

// FNV-1a, 32 bits, of the UTF-8 text: the same participant always gets one order.
function orderOf(participant, nOrders) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(participant)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash % nOrders;
}

// One entry for each answer, so that saving takes the same time throughout.
function openStore(version, participant) {
  const prefix = `neurovis/${version}/${participant}/`;
  const rows = new Map();
  let storage = null;
  try {
    storage = window.localStorage;
    for (let i = 0; i < storage.length; i += 1) {
      const key = storage.key(i);
      if (key.startsWith(prefix)) rows.set(key, JSON.parse(storage.getItem(key)));
    }
  } catch {
    storage = null; // Closed in private windows: answers then live on this page only.
  }

  return {
    save(row) {
      const key = `${prefix}${row.practice ? "practice" : "trial"}/${row.trial}`;
      rows.set(key, row);
      try {
        storage?.setItem(key, JSON.stringify(row));
      } catch {
        storage = null; // Full: the rest stays on this page.
      }
    },
    rows() {
      const rank = (row) => (row.practice ? 0 : 1e6) + row.trial;
      return [...rows.values()].sort((a, b) => rank(a) - rank(b));
    },
    nDone(practice) {
      return [...rows.values()].filter((row) => row.practice === practice).length;
    },
    clear() {
      for (const key of rows.keys()) {
        try {
          window.localStorage.removeItem(key);
        } catch {
          break;
        }
      }
      rows.clear();
    },
  };
}

// A spreadsheet must not take a text for a formula.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") {
    return Number.isFinite(value) ? String(Math.round(value * 1e6) / 1e6) : "";
  }
  let text = String(value);
  const isNumber = text.trim() !== "" && Number.isFinite(Number(text));
  if (/^[=+\-@\t\r]/.test(text) && !isNumber) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function makeCsv(columns, rows) {
  const lines = rows.map((row) => columns.map((name) => csvCell(row[name])).join(","));
  return [columns.map(csvCell).join(","), ...lines].map((line) => `${line}\n`).join("");
}

function saveCsv(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
