// Reports as one self-contained HTML page: tables, and charts drawn as SVG.

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

const STYLE =
  `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1c1c1c;background:#fff}h1,h2{line-height:1.2}table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .75rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}
.note{color:#666}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}
td,th{border-color:#444}.note{color:#999}svg text{fill:#ddd}}`;

/** A page of sections that are HTML already. */
export function htmlPage(title: string, sections: readonly string[]): string {
  return `<!doctype html>\n<html lang="en"><meta charset="utf-8">` +
    `<meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title>` +
    `<style>${STYLE}</style>\n<h1>${escapeHtml(title)}</h1>\n${sections.join("\n")}\n</html>\n`;
}

export function section(title: string, ...body: readonly string[]): string {
  return `<h2>${escapeHtml(title)}</h2>\n${body.join("\n")}`;
}

/** A table; numbers stand to the right. */
export function htmlTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const isNumber = head.map((_, column) =>
    rows.every((row) => /^[-+]?[\d.,]+( ?%)?( ±.*)?$|^$/.test(String(row[column] ?? "")))
  );
  const cell = (tag: string) => (value: string | number, column: number) =>
    `<${tag}${isNumber[column] ? ' class="n"' : ""}>${escapeHtml(String(value))}</${tag}>`;
  return `<table><tr>${head.map(cell("th")).join("")}</tr>\n${
    rows.map((row) => `<tr>${row.map(cell("td")).join("")}</tr>`).join("\n")
  }</table>`;
}

const COLORS = ["#2f6fb7", "#c8553d", "#3a8f5c", "#8a5fb0", "#b58a1b", "#4a9db0", "#777777"];

const HEAD = (width: number, height: number, title: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" ` +
  `aria-label="${escapeHtml(title)}" font-family="system-ui,sans-serif" font-size="13">` +
  `<title>${escapeHtml(title)}</title>`;

/** Horizontal bars from 0 to the largest value, or `most`. */
export function barChart(
  title: string,
  bars: readonly { readonly name: string; readonly value: number; readonly label: string }[],
  most = Math.max(1e-9, ...bars.map(({ value }) => value)),
): string {
  const row = 24, left = 220, width = 720, height = bars.length * row + 10;
  const drawn = bars.map(({ name, value, label }, i) => {
    const y = i * row + 5, length = Math.max(0, Math.min(1, value / most)) * (width - left - 90);
    return `<text x="${left - 8}" y="${y + 15}" text-anchor="end" fill="#444">${
      escapeHtml(name)
    }</text><rect x="${left}" y="${y + 3}" width="${length.toFixed(1)}" height="${row - 8}" ` +
      `fill="${COLORS[0]}"/><text x="${(left + length + 6).toFixed(1)}" y="${y + 15}" fill="#444">${
        escapeHtml(label)
      }</text>`;
  });
  return HEAD(width, height, title) + drawn.join("") + "</svg>";
}

/** A line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Lines over a common x axis. */
export function lineChart(title: string, x: string, y: string, series: readonly Series[]): string {
  const width = 720, height = 360, left = 60, right = 170, top = 20, bottom = 45;
  const all = series.flatMap(({ points }) => points).filter(([a, b]) =>
    Number.isFinite(a) && Number.isFinite(b)
  );
  if (all.length === 0) return "";
  const [minX, maxX] = extent(all.map(([a]) => a)), [minY, maxY] = extent(all.map(([, b]) => b));
  const px = (a: number) => left + (a - minX) / (maxX - minX || 1) * (width - left - right);
  const py = (b: number) =>
    height - bottom - (b - minY) / (maxY - minY || 1) *
      (height - top - bottom);
  const text = (tx: number, ty: number, value: string, anchor = "middle") =>
    `<text x="${tx.toFixed(1)}" y="${ty.toFixed(1)}" text-anchor="${anchor}" fill="#444">${
      escapeHtml(value)
    }</text>`;
  const ticks = (from: number, to: number) =>
    Array.from({ length: 5 }, (_, i) => from + i / 4 * (to - from));
  const yAxis = ticks(minY, maxY).map((value) => {
    const at = py(value).toFixed(1);
    return `<line x1="${left}" x2="${width - right}" y1="${at}" y2="${at}" stroke="#ccc"/>` +
      text(left - 8, py(value) + 4, brief(value), "end");
  });
  // Whole numbers, such as epochs, are counted in whole numbers.
  const isWhole = all.every(([a]) => Number.isInteger(a));
  const xTicks = ticks(minX, maxX).map((value) => isWhole ? Math.round(value) : value);
  const xAxis = [...new Set(xTicks)].map((value) =>
    text(px(value), height - bottom + 18, brief(value))
  );
  const lines = series.map(({ name, points }, i) => {
    const color = COLORS[i % COLORS.length]!;
    const path = points.filter(([, b]) => Number.isFinite(b)).map(([a, b]) =>
      `${px(a).toFixed(1)},${py(b).toFixed(1)}`
    ).join(" ");
    const at = top + i * 20;
    return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"/>` +
      `<rect x="${width - right + 12}" y="${at}" width="14" height="4" fill="${color}"/>` +
      text(width - right + 32, at + 7, name, "start");
  });
  return HEAD(width, height, title) + [...yAxis, ...xAxis, ...lines].join("") +
    text((left + width - right) / 2, height - 8, x) + text(left, 13, y, "start") + "</svg>";
}

function extent(values: readonly number[]): [number, number] {
  return [Math.min(...values), Math.max(...values)];
}

function brief(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** A chart as a file of its own, readable on any page. */
export function onWhite(svg: string): string {
  return svg.replace("<title>", '<rect width="100%" height="100%" fill="#fff"/><title>');
}
