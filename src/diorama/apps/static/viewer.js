// Draws what `viewer.described` gives and answers the pointer. `element`, `props` and `watch` come from gradio's HTML component.
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

const unpacked = async (text, Kind) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
};

const loaded = (address) =>
  new Promise((done, failed) => {
    const picture = new Image();
    picture.onload = () => done(picture);
    picture.onerror = failed;
    picture.src = address;
  });

const canvasOf = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

const metres = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(1)) + " m";

const ticks = (near, far) => {
  const rough = (far - near) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => power * factor >= rough);
  const found = [];
  for (let value = Math.ceil(near / step) * step; value <= far + step * 1e-6; value += step) found.push(+value.toFixed(6));
  return found;
};

// Class colours with white lines between classes; with `only`, the other classes are dark.
const painted = (scene, only) => {
  const [height, width] = scene.view;
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  const table = new Map(scene.classes.map((one) => [one.id, one.colour]));
  const ids = scene.ids;
  for (let at = 0; at < ids.length; at++) {
    const edge = (at % width && ids[at] !== ids[at - 1]) || (at >= width && ids[at] !== ids[at - width]);
    const dimmed = only !== undefined && ids[at] !== only;
    const colour = edge && !dimmed ? [245, 247, 250] : dimmed ? [14, 16, 20] : table.get(ids[at]) || [0, 0, 0];
    data.data.set([...colour, dimmed ? 215 : 255], at * 4);
  }
  context.putImageData(data, 0, 0);
  return canvas;
};

class Pane {
  constructor(scene, about) {
    this.scene = scene;
    this.about = about;
    this.opacity = scene.photo ? about.opacity : 1;
    const [height, width] = scene.view;
    this.node = make("figure", "pane");
    const head = make("figcaption", "head");
    head.append(make("span", "title", about.title), make("span", "note", about.note));
    if (scene.photo) head.append(this.slider());
    this.frame = make("div", "frame");
    this.canvas = canvasOf(width, height);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${about.title}: point at a pixel, or move with the arrow keys`);
    this.mark = make("div", "mark");
    this.tip = make("div", "tip");
    this.frame.append(this.canvas, this.mark, this.tip);
    this.node.append(head, this.frame);
    if (about.kind === "semantic") this.node.append(this.legend());
    if (about.kind === "depth") this.node.append(this.bar());
    this.layer = about.kind === "semantic" ? painted(scene) : about.kind === "depth" ? scene.colouredPicture : scene.pointsPicture;
    this.draw();
  }

  slider() {
    const label = make("label", "slider");
    const input = Object.assign(make("input"), { type: "range", min: 0, max: 100, value: this.opacity * 100 });
    input.setAttribute("aria-label", `${this.about.title}: opacity over the photo`);
    input.addEventListener("input", () => {
      this.opacity = input.value / 100;
      this.draw();
    });
    label.append(make("span", "", "photo"), input, make("span", "", this.about.kind === "semantic" ? "classes" : "depth"));
    return label;
  }

  draw() {
    const [height, width] = this.scene.view;
    const context = this.canvas.getContext("2d");
    context.globalAlpha = 1;
    context.fillStyle = "#0f1115";
    context.fillRect(0, 0, width, height);
    if (this.scene.photo) context.drawImage(this.scene.photoPicture, 0, 0, width, height);
    context.globalAlpha = this.opacity;
    context.drawImage(this.layer, 0, 0, width, height);
  }

  legend() {
    const list = make("ul", "legend");
    const large = this.scene.classes.filter((one) => one.share >= 0.005);
    for (const one of large) {
      const item = make("li", "chip");
      item.tabIndex = 0;
      const swatch = make("i", "swatch");
      swatch.style.background = `rgb(${one.colour.join()})`;
      item.append(swatch, make("span", "", one.name), make("b", "", `${Math.round(one.share * 100)}%`));
      const shown = (only) => () => {
        this.layer = painted(this.scene, only);
        this.draw();
      };
      for (const event of ["pointerenter", "focus"]) item.addEventListener(event, shown(one.id));
      for (const event of ["pointerleave", "blur"]) item.addEventListener(event, shown(undefined));
      list.append(item);
    }
    const rest = this.scene.classes.slice(large.length);
    if (rest.length) {
      const more = make("li", "more", `and ${rest.length} below 0.5%`);
      more.title = rest.map((one) => one.name).join(", ");
      list.append(more);
    }
    return list;
  }

  bar() {
    const { near, far, stops } = this.scene;
    const place = (value) => `${(100 * (value - near)) / (far - near)}%`;
    const node = make("div", "scale");
    const band = make("div", "band");
    band.style.background = `linear-gradient(90deg, ${stops.join()})`;
    this.needle = make("div", "needle");
    band.append(this.needle);
    const row = make("div", "ticks");
    for (const value of ticks(near, far)) {
      const tick = make("span", "", `${value} m`);
      tick.style.left = place(value);
      row.append(tick);
    }
    node.append(band, row);
    return node;
  }

  point(found) {
    for (const node of [this.mark, this.tip]) node.classList.toggle("on", found !== null);
    if (this.needle) this.needle.classList.toggle("on", found !== null && found.depth > 0);
    if (found === null) return;
    const [height, width] = this.scene.view;
    const left = (100 * (found.x + 0.5)) / width, top = (100 * (found.y + 0.5)) / height;
    for (const node of [this.mark, this.tip]) Object.assign(node.style, { left: `${left}%`, top: `${top}%` });
    this.tip.classList.toggle("left", left > 60);
    this.tip.classList.toggle("up", top > 70);
    this.tip.textContent = found.text;
    if (this.needle) {
      const { near, far } = this.scene;
      this.needle.style.left = `${Math.min(100, Math.max(0, (100 * (found.depth - near)) / (far - near)))}%`;
    }
  }
}

const read = (scene, x, y) => {
  const [height, width] = scene.view;
  const at = y * width + x;
  const one = scene.ids && scene.classes.find((other) => other.id === scene.ids[at]);
  const depth = scene.depths ? scene.depths[at] / scene.depth_scale : 0;
  const parts = [];
  if (scene.ids) parts.push(one ? one.name : "no class");
  if (scene.depths) parts.push(depth > 0 ? metres(depth) : "no depth");
  const full = [Math.floor(((x + 0.5) * scene.size[1]) / width), Math.floor(((y + 0.5) * scene.size[0]) / height)];
  return { x, y, depth, full, colour: one && one.colour, text: parts.join(" · ") };
};

const probeOf = (scene, panes) => {
  const node = make("div", "probe");
  node.dataset.testid = "probe";
  const swatch = make("i", "swatch"), value = make("strong", "value"), place = make("span", "place");
  const rest = scene.depths && scene.ids ? "Point at a pixel: its class and its distance." : "Point at a pixel: what it is, or how far.";
  node.append(swatch, value, place);
  let kept = null;
  const show = (found) => {
    for (const pane of panes) pane.point(found);
    swatch.hidden = !(found && found.colour);
    if (!swatch.hidden) swatch.style.background = `rgb(${found.colour.join()})`;
    value.textContent = found ? found.text : "";
    place.textContent = found ? `x ${found.full[0]}, y ${found.full[1]}${kept ? " · held, click to free" : ""}` : rest;
  };
  const limit = (value, size) => Math.min(size - 1, Math.max(0, value));
  for (const pane of panes) {
    const canvas = pane.canvas;
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
      const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
      return read(scene, limit(x, canvas.width), limit(y, canvas.height));
    };
    canvas.addEventListener("pointermove", (event) => kept || show(under(event)));
    canvas.addEventListener("pointerleave", () => kept || show(null));
    canvas.addEventListener("click", (event) => {
      kept = kept ? null : under(event);
      show(kept || under(event));
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = kept ? [kept.x, kept.y] : [canvas.width >> 1, canvas.height >> 1];
      const far = event.shiftKey ? 10 : 1;
      kept = read(scene, limit(x + far * step[0], canvas.width), limit(y + far * step[1], canvas.height));
      show(kept);
    });
  }
  show(null);
  return node;
};

let latest = 0;
const show = async (text) => {
  const turn = ++latest;
  const stage = element.querySelector(".stage");
  const scene = text ? JSON.parse(text) : {};
  if (!scene.panes) {
    const card = make("div", scene.problem ? "card problem" : "card");
    card.append(make("strong", "", scene.problem ? scene.title : "Nothing here yet"));
    card.append(make("p", "", scene.problem || "Drop a photo on the left, or take one of the examples."));
    if (scene.problem) card.setAttribute("role", "alert");
    stage.replaceChildren(card);
    return;
  }
  if (scene.photo) scene.photoPicture = await loaded(scene.photo);
  if (scene.coloured) scene.colouredPicture = await loaded(scene.coloured);
  if (scene.points) scene.pointsPicture = await loaded(scene.points);
  if (scene.semantic) scene.ids = await unpacked(scene.semantic, Uint8Array);
  if (scene.depth) scene.depths = await unpacked(scene.depth, Uint16Array);
  if (turn !== latest) return;
  const panes = scene.panes.map((about) => new Pane(scene, about));
  const row = make("div", "panes");
  row.append(...panes.map((pane) => pane.node));
  const name = make("div", "name");
  name.append(make("span", "", scene.name), make("span", "faint", `${scene.size[1]} × ${scene.size[0]}`));
  stage.replaceChildren(name, row, probeOf(scene, panes));
};

watch("value", () => show(props.value));
show(props.value);
