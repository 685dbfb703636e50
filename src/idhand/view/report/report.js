"use strict";
// Draws the hands of the page so that they can be turned. Everything it needs is in #data and in
// the page's own pictures. Positions arrive in the camera frame (x right, y down, z forward,
// metres); three.js and this file use x right, y up, z towards the viewer.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const VIEWS = {
    photo: [0, 0], left: [-Math.PI / 2, 0], right: [Math.PI / 2, 0], above: [0, 1.2],
    behind: [Math.PI, 0],
  };
  const NEAR = 0.01, FAR = 30, BEHIND_HAND = 0.10, TURN_MS = 450;
  const STILL = matchMedia("(prefers-reduced-motion: reduce)");
  const FINGER_OF = (k) => Math.floor((k - 1) / 4);

  // ------------------------------------------------------------------------------------ decoding

  function bytes(base64) {
    const text = atob(base64), out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return out.buffer;
  }

  function points(base64, origin = [0, 0, 0]) {
    const steps = new Int16Array(bytes(base64)), out = new Float32Array(steps.length);
    for (let i = 0; i < steps.length; i += 3) {
      out[i] = origin[0] + steps[i] * data.step;
      out[i + 1] = -(origin[1] + steps[i + 1] * data.step);
      out[i + 2] = -(origin[2] + steps[i + 2] * data.step);
    }
    return out;
  }

  const topologies = {};

  /** A side's triangles, each split in four, and the edges on whose middles the new corners lie. */
  function topologyOf(side) {
    if (topologies[side]) return topologies[side];
    const coarse = new Uint16Array(bytes(data.faces[side])), middles = new Map(), edges = [], fine = [];
    const count = Math.max(...coarse) + 1;
    const middle = (a, b) => {
      const key = Math.min(a, b) * 65536 + Math.max(a, b);
      if (!middles.has(key)) { middles.set(key, count + edges.length / 2); edges.push(a, b); }
      return middles.get(key);
    };
    for (let i = 0; i < coarse.length; i += 3) {
      const [a, b, c] = coarse.subarray(i, i + 3), ab = middle(a, b), bc = middle(b, c), ca = middle(c, a);
      fine.push(a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca);
    }
    return (topologies[side] = { coarse, edges, fine: new Uint16Array(fine), count });
  }

  /** Unit normals of corners, weighted by the triangles' areas. */
  function normalsOf(verts, triangles) {
    const normals = new Float32Array(verts.length);
    for (let i = 0; i < triangles.length; i += 3) {
      const [a, b, c] = [3 * triangles[i], 3 * triangles[i + 1], 3 * triangles[i + 2]];
      const ux = verts[b] - verts[a], uy = verts[b + 1] - verts[a + 1], uz = verts[b + 2] - verts[a + 2];
      const vx = verts[c] - verts[a], vy = verts[c + 1] - verts[a + 1], vz = verts[c + 2] - verts[a + 2];
      const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (const k of [a, b, c]) for (let j = 0; j < 3; j++) normals[k + j] += n[j];
    }
    for (let i = 0; i < normals.length; i += 3) {
      const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
      for (let j = 0; j < 3; j++) normals[i + j] /= length;
    }
    return normals;
  }

  /** The mesh with rounded triangles. Its own corners stay where they are; the middles of edges move
      towards the corners' tangent planes. Source: Boubekeur and Alexa, "Phong tessellation", 2008. */
  function rounded(verts, { coarse, edges, count }) {
    const normals = normalsOf(verts, coarse), out = new Float32Array(3 * (count + edges.length / 2));
    out.set(verts.subarray(0, 3 * count));
    for (let e = 0; e < edges.length; e += 2) {
      const a = 3 * edges[e], b = 3 * edges[e + 1], at = 3 * (count + e / 2);
      let high_a = 0, high_b = 0;
      for (let j = 0; j < 3; j++) {
        const half = (verts[b + j] - verts[a + j]) / 2;
        high_a += half * normals[a + j], high_b -= half * normals[b + j];
      }
      for (let j = 0; j < 3; j++) {
        const straight = (verts[a + j] + verts[b + j]) / 2;
        out[at + j] = straight - 0.375 * (high_a * normals[a + j] + high_b * normals[b + j]);
      }
    }
    return out;
  }

  const colour = (rgb) => (rgb[0] << 16) | (rgb[1] << 8) | rgb[2];

  // --------------------------------------------------------------------------------------- hands

  /** A hand's mesh and skeleton; `move` gives it other positions. */
  class HandBody {
    constructor(right) {
      const side = right ? "right" : "left";
      this.group = new THREE.Group();
      this.geometry = new THREE.BufferGeometry();
      this.topology = topologyOf(side);
      this.geometry.setIndex(new THREE.BufferAttribute(this.topology.fine, 1));
      this.material = new THREE.MeshStandardMaterial({
        color: colour(data.sides[side]), roughness: 0.62, metalness: 0, transparent: true,
      });
      const depth = new THREE.MeshBasicMaterial({ colorWrite: false, transparent: true }); // after the photo
      this.mesh = new THREE.Group();
      for (const [material, order] of [[depth, 1], [this.material, 2]]) {
        const mesh = new THREE.Mesh(this.geometry, material);
        mesh.renderOrder = order; // depth first, so that a see-through hand shows one layer only
        mesh.frustumCulled = false;
        this.mesh.add(mesh);
      }
      this.skeleton = new THREE.Group();
      const ball = new THREE.SphereGeometry(0.0032, 14, 10);
      const rod = new THREE.CylinderGeometry(0.0017, 0.0017, 1, 10);
      this.balls = [], this.rods = [];
      data.parents.forEach((parent, k) => {
        const finger = k === 0 ? data.palm : data.fingers[FINGER_OF(k)];
        const paint = (rgb) => new THREE.MeshStandardMaterial({
          color: colour(rgb), roughness: 0.5, depthTest: false, transparent: true,
        });
        this.balls.push(new THREE.Mesh(ball, paint(finger)));
        if (parent >= 0) this.rods.push(new THREE.Mesh(rod, paint(parent === 0 ? data.palm : finger)));
      });
      for (const part of [...this.rods, ...this.balls]) {
        part.renderOrder = 3;
        part.frustumCulled = false;
        this.skeleton.add(part);
      }
      this.group.add(this.mesh, this.skeleton);
    }

    move(verts, joints) {
      const round = rounded(verts, this.topology), normals = normalsOf(round, this.topology.fine);
      this.geometry.setAttribute("position", new THREE.BufferAttribute(round, 3));
      this.geometry.setAttribute("normal", new THREE.BufferAttribute(normals, 3));
      const at = (k) => new THREE.Vector3().fromArray(joints, 3 * k);
      const up = new THREE.Vector3(0, 1, 0);
      this.balls.forEach((ball, k) => ball.position.copy(at(k)));
      this.rods.forEach((rod, i) => {
        const a = at(data.parents[i + 1]), b = at(i + 1), along = b.clone().sub(a);
        rod.position.copy(a).addScaledVector(along, 0.5);
        rod.scale.set(1, Math.max(along.length(), 1e-6), 1);
        rod.quaternion.setFromUnitVectors(up, along.normalize());
      });
      return this;
    }
  }

  function bodyOf(hand) {
    return new HandBody(hand.right).move(points(hand.verts, hand.origin), points(hand.joints, hand.origin));
  }

  function middleOf(list) {
    const low = new THREE.Vector3(Infinity, Infinity, Infinity), high = low.clone().negate();
    for (const verts of list) {
      for (let i = 0; i < verts.length; i += 3) {
        const p = new THREE.Vector3().fromArray(verts, i);
        low.min(p), high.max(p);
      }
    }
    return { centre: low.clone().add(high).multiplyScalar(0.5), radius: high.distanceTo(low) / 2, far: low.z };
  }

  // ---------------------------------------------------------------------------------- turn table

  /** One WebGL context for all canvases, because browsers allow few; null where there is none. */
  const renderer = (() => {
    try { return new THREE.WebGLRenderer({ antialias: true, alpha: true }); } catch { return null; }
  })();

  /** A canvas in which things seen by a pinhole camera can be turned about their middle. */
  class TurnTable {
    constructor(place, label) {
      this.place = place;
      this.canvas = document.createElement("canvas");
      this.context = this.canvas.getContext("2d");
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "img");
      this.canvas.setAttribute("aria-label", label);
      place.replaceChildren(this.canvas);
      this.scene = new THREE.Scene();
      this.camera = new THREE.PerspectiveCamera();
      this.pivot = new THREE.Group();
      this.content = new THREE.Group();
      this.pivot.add(this.content);
      const key = new THREE.DirectionalLight(0xffffff, 2.1);
      key.position.set(-0.5, 0.9, 0.8);
      const fill = new THREE.DirectionalLight(0xffffff, 0.5);
      fill.position.set(0.8, -0.2, 0.4);
      this.scene.add(this.pivot, new THREE.HemisphereLight(0xffffff, 0x8a8078, 1.25), key, fill);
      this.lens = [1, 1, 0.5, 0.5, 1];
      this.turned = () => {};
      // OrbitControls turns a stand-in camera; the inverse of its turn is given to the content, so
      // that the real camera stays where the photo was taken.
      this.proxy = new THREE.PerspectiveCamera();
      this.proxy.position.set(0, 0, 1);
      this.controls = new THREE.OrbitControls(this.proxy, this.canvas);
      Object.assign(this.controls, { enablePan: false, enableZoom: false, minDistance: 0.12, maxDistance: 4 });
      // the wheel scrolls the page until the canvas is clicked
      this.canvas.addEventListener("pointerdown", () => this.canvas.focus({ preventScroll: true }), true);
      this.canvas.addEventListener("focus", () => { this.controls.enableZoom = true; });
      this.canvas.addEventListener("blur", () => { this.controls.enableZoom = false; });
      this.controls.addEventListener("change", () => this.draw());
      this.controls.addEventListener("start", () => { cancelAnimationFrame(this.turning); this.turned(null); });
      this.canvas.style.touchAction = "pan-y";
      this.canvas.addEventListener("keydown", (event) => this.key(event));
      this.centred = 0; // 0: the middle stays where it is in the photo, 1: in the canvas's middle
      this.fitted = 1;
      new ResizeObserver(() => this.draw()).observe(place);
    }

    /** Show these bodies about their middle, seen by a camera (fx, fy, cx, cy, aspect). */
    show(bodies, lens, extras = () => []) {
      this.content.traverse(({ geometry, material }) => { // what is shown no more leaves the GPU
        geometry?.dispose();
        material?.map?.dispose();
        material?.dispose();
      });
      this.content.clear();
      this.bodies = bodies;
      this.lens = lens;
      const { centre, radius, far } = middleOf(bodies.map((b) => b.geometry.attributes.position.array));
      this.centre = centre, this.radius = radius;
      this.pivot.position.copy(centre);
      this.content.position.copy(centre).negate();
      for (const body of bodies) this.content.add(body.group);
      for (const extra of extras(centre, far)) this.content.add(extra);
      this.draw();
    }

    project() {
      const [fx, fy, cx, cy, aspect] = this.lens;
      const frame = this.place.clientWidth / Math.max(this.place.clientHeight, 1);
      const sx = Math.min(1, aspect / frame), sy = Math.min(1, frame / aspect);
      const a = 2 * sx * fx, b = 2 * sy * fy, c = sx * (2 * cx - 1), d = sy * (2 * cy - 1);
      const p = this.centre, mx = (a * p.x) / -p.z + c, my = (b * p.y) / -p.z - d;
      // zoom about the middle, which moves to the canvas's middle as it is centred
      const zoom = this.fitted / this.proxy.position.length();
      const ox = mx * (1 - this.centred) - zoom * mx, oy = my * (1 - this.centred) - zoom * my;
      this.camera.projectionMatrix.set(
        zoom * a, 0, -(zoom * c + ox), 0,
        0, zoom * b, zoom * d - oy, 0,
        0, 0, (FAR + NEAR) / (NEAR - FAR), (2 * FAR * NEAR) / (NEAR - FAR),
        0, 0, -1, 0,
      );
      this.camera.projectionMatrixInverse.copy(this.camera.projectionMatrix).invert();
    }

    draw() {
      if (this.queued) return;
      this.queued = requestAnimationFrame(() => {
        this.queued = 0;
        const width = this.place.clientWidth, height = this.place.clientHeight;
        if (!this.bodies || !width || !height) return;
        const ratio = Math.min(window.devicePixelRatio || 1, 2);
        const size = [Math.round(width * ratio), Math.round(height * ratio)];
        if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) {
          [this.canvas.width, this.canvas.height] = size;
        }
        this.pivot.quaternion.copy(this.proxy.quaternion).invert();
        this.project();
        this.drawn?.();
        const { domElement } = renderer;
        if (domElement.width !== size[0] || domElement.height !== size[1]) renderer.setSize(...size, false);
        renderer.render(this.scene, this.camera);
        this.context.clearRect(0, 0, ...size);
        this.context.drawImage(domElement, 0, 0);
      });
    }

    /** How much larger the content may be drawn until it fills the canvas. */
    fit() {
      const [fx, fy, , , aspect] = this.lens;
      const frame = this.place.clientWidth / Math.max(this.place.clientHeight, 1);
      const a = 2 * Math.min(1, aspect / frame) * fx, b = 2 * Math.min(1, frame / aspect) * fy;
      return (1.1 * -this.centre.z) / (this.radius * Math.max(a, b));
    }

    /** Turn to a named view within half a second. */
    turn(view, { centred = view !== "photo", at_once = false } = {}) {
      const zoom = centred ? this.fit() : 1, start = performance.now();
      const still = at_once || STILL.matches;
      const from = [...this.direction(), this.centred, this.fitted / this.proxy.position.length()];
      const to = [...VIEWS[view], Number(centred), zoom];
      cancelAnimationFrame(this.turning);
      const step = (now) => {
        const s = still ? 1 : Math.min((now - start) / TURN_MS, 1), t = s * s * (3 - 2 * s);
        const [yaw, pitch, middle, size] = from.map((old, i) => old + t * (to[i] - old));
        this.centred = middle, this.fitted = size;
        this.look(yaw, pitch);
        if (s < 1) this.turning = requestAnimationFrame(step);
      };
      step(start);
    }

    key(event) {
      const steps = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] };
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      this.turned(null);
      const [yaw, pitch] = this.direction();
      this.look(yaw + step[0], Math.min(Math.max(pitch + step[1], -1.5), 1.5), this.proxy.position.length());
    }

    /** Yaw and pitch from which the content is seen; both are 0 where the photo was taken. */
    direction() {
      const p = this.proxy.position;
      return [Math.atan2(p.x, p.z), Math.asin(p.y / p.length())];
    }

    look(yaw, pitch, distance = 1) {
      const flat = Math.cos(pitch);
      this.proxy.position.set(Math.sin(yaw) * flat, Math.sin(pitch), Math.cos(yaw) * flat).multiplyScalar(distance);
      this.controls.update();
      this.draw();
    }

    /** Pixel of a point of the content, for labels. */
    pixel(point) {
      const p = point.clone().applyMatrix4(this.content.matrixWorld).applyMatrix4(this.camera.projectionMatrix);
      return [(p.x + 1) / 2 * this.place.clientWidth, (1 - p.y) / 2 * this.place.clientHeight];
    }
  }

  function press(group, chosen) {
    for (const button of all("button", group)) button.setAttribute("aria-pressed", String(button === chosen));
  }

  function directions(group, table) {
    for (const button of all("button", group)) {
      button.addEventListener("click", () => { press(group, button); table.turn(button.dataset.view); });
    }
    table.turned = () => press(group, null);
  }

  // -------------------------------------------------------------------------------------- photos

  function photoPlane(image, lens, depth) {
    const [fx, fy, cx, cy] = lens;
    const corner = (u, v) => [((u - cx) / fx) * depth, -((v - cy) / fy) * depth, -depth];
    const corners = [corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)];
    const parts = [];
    if (image) {
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(corners.flat()), 3));
      geometry.setAttribute("uv", new THREE.BufferAttribute(new Float32Array([0, 1, 1, 1, 1, 0, 0, 0]), 2));
      geometry.setIndex([0, 2, 1, 0, 3, 2]);
      const own = new Image(); // one in the page has the width of its place there
      const texture = new THREE.Texture(own);
      texture.colorSpace = THREE.SRGBColorSpace;
      own.addEventListener("load", () => { texture.needsUpdate = true; stage.table.draw(); });
      own.src = image.src;
      const plane = new THREE.Mesh(geometry, new THREE.MeshBasicMaterial({
        map: texture, side: THREE.DoubleSide, transparent: true, depthWrite: false,
      }));
      plane.frustumCulled = false;
      stage.plane = plane;
      parts.push(plane);
    }
    const lines = new THREE.BufferGeometry();
    const edges = corners.flatMap((c, i) => [[0, 0, 0], c, c, corners[(i + 1) % 4]]);
    lines.setAttribute("position", new THREE.BufferAttribute(new Float32Array(edges.flat()), 3));
    const frame = new THREE.LineSegments(lines, new THREE.LineBasicMaterial({ color: 0x8a8f98 }));
    frame.frustumCulled = false;
    return [...parts, frame];
  }

  const stage = {
    fit: "hands", index: 0, plane: null,
    start() {
      const place = find("#stage-view");
      if (!place) return;
      this.table = new TurnTable(place, "The photo's hands in 3D; arrow keys turn them");
      this.table.drawn = () => this.fade();
      directions(find("#stage-directions"), this.table);
      find("#stage-panel").hidden = false;
      for (const card of all(".card")) card.addEventListener("click", () => {
        this.show(Number(card.dataset.index));
        place.scrollIntoView({ block: "nearest", behavior: STILL.matches ? "auto" : "smooth" });
      });
      for (const button of all("[data-fit]", find("#stage-panel"))) button.addEventListener("click", () => {
        press(button.parentElement, button);
        this.fit = find("#gallery").dataset.fit = button.dataset.fit;
        this.show(this.index, true);
      });
      for (const id of ["show-mesh", "show-skeleton", "show-photo", "opacity"]) {
        find(`#${id}`).addEventListener("input", () => this.dress());
      }
      const first = data.photos.findIndex((photo) => photo.hands.length);
      this.show(Math.max(first, 0));
    },
    show(index, stay = false) {
      this.index = index;
      const photo = data.photos[index], card = find(`.card[data-index="${index}"]`);
      for (const other of all(".card")) other.removeAttribute("aria-current");
      card.setAttribute("aria-current", "true");
      find("#stage-name").textContent = find("b", card).textContent;
      const facts = find("#stage-facts");
      facts.replaceChildren();
      const alone = this.fit === "anonymous" && photo.anonymous.length > 0;
      for (const { side, distance, more } of alone ? photo.facts_anonymous : photo.facts) {
        const term = document.createElement("dt"), text = document.createElement("dd");
        term.textContent = side, term.className = `hand ${side}`;
        const small = document.createElement("small");
        small.textContent = more;
        text.append(distance || "no usable fit", small);
        facts.append(term, text);
      }
      const image = find("img.photo", card);
      const hands = alone ? photo.anonymous : photo.hands;
      this.plane = null;
      const aspect = photo.camera ? photo.camera[4] : image ? image.naturalWidth / image.naturalHeight : 4 / 3;
      this.table.place.style.aspectRatio = Math.min(Math.max(aspect, 0.8), 2);
      if (!photo.camera) { // nothing to turn: the photo alone, on a plane at one metre
        this.empty(image, [1, 1, 0.5, 0.5, aspect]);
        return;
      }
      const extras = (centre, far) => photoPlane(image, photo.camera, -far + BEHIND_HAND);
      this.table.show(hands.map(bodyOf), photo.camera, extras);
      this.dress();
      if (!stay) { press(find("#stage-directions"), find('[data-view="photo"]', find("#stage-directions"))); this.table.turn("photo", { at_once: true }); }
    },
    empty(image, lens) {
      const flat = { geometry: new THREE.BufferGeometry(), group: new THREE.Group() };
      flat.geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array([0, 0, -1]), 3));
      this.table.show([flat], lens, () => photoPlane(image, lens, 1));
      this.table.turn("photo", { at_once: true });
    },
    dress() {
      for (const body of this.table.bodies) {
        if (!body.mesh) continue;
        body.mesh.visible = find("#show-mesh").checked;
        body.skeleton.visible = find("#show-skeleton").checked;
        body.material.opacity = 1 - find("#opacity").value / 100;
      }
      this.table.draw();
    },
    /** The photo fades as one looks from elsewhere, and hardly hides the hands from behind. */
    fade() {
      if (!this.plane) return;
      const front = this.table.proxy.position.z / this.table.proxy.position.length();
      this.plane.visible = find("#show-photo").checked;
      this.plane.material.opacity = front > 0.999 ? 1 : Math.max(0.12, 0.15 + 0.8 * front);
    },
  };

  // -------------------------------------------------------------------------------------- person

  const ALWAYS = ["hand_length", "hand_breadth", "thumb_length", "index_length", "middle_length", "ring_length", "little_length"];

  const person = {
    chosen: null,
    start() {
      const place = find("#person-view");
      if (!place || !data.person) return;
      this.table = new TurnTable(place, "The person's hand at rest in 3D; arrow keys turn it");
      directions(find("#person-directions"), this.table);
      const away = [0, 0, 0.62], body = new HandBody(true);
      body.move(points(data.person.verts, away), points(data.person.joints, away));
      body.material.opacity = 0.96;
      body.skeleton.visible = false;
      this.rods = {};
      const rod = new THREE.CylinderGeometry(0.0011, 0.0011, 1, 8), up = new THREE.Vector3(0, 1, 0);
      const group = new THREE.Group();
      for (const [name, base64] of Object.entries(data.person.lines)) {
        const ends = points(base64, away), parts = [];
        for (let i = 0; i + 3 < ends.length; i += 3) {
          const a = new THREE.Vector3().fromArray(ends, i), b = new THREE.Vector3().fromArray(ends, i + 3);
          const part = new THREE.Mesh(rod, new THREE.MeshBasicMaterial({ color: 0x1b2430, depthTest: false, transparent: true }));
          part.renderOrder = 4, part.frustumCulled = false;
          part.position.copy(a).lerp(b, 0.5);
          part.scale.y = Math.max(a.distanceTo(b), 1e-6);
          part.quaternion.setFromUnitVectors(up, b.clone().sub(a).normalize());
          group.add(part), parts.push(part);
        }
        const anchor = this.anchor(name, ends);
        const tag = document.createElement("span");
        tag.className = "tag";
        place.append(tag);
        this.rods[name] = { parts, tag, anchor };
      }
      for (const row of all(".measures [data-measure]")) {
        const name = row.dataset.measure, text = find(".value", row).firstChild.textContent.trim();
        if (!this.rods[name]) continue;
        this.rods[name].long = `${find("th", row).firstChild.textContent} ${text} mm`;
        this.rods[name].short = text;
        for (const type of ["mouseenter", "focus"]) row.addEventListener(type, () => this.choose(name));
        for (const type of ["mouseleave", "blur"]) row.addEventListener(type, () => this.choose(null));
      }
      this.table.drawn = () => this.label();
      this.table.show([body], [2.2, 2.2, 0.5, 0.5, 1], () => [group]);
      this.choose(null);
      this.table.turn("photo", { centred: true, at_once: true });
      const turn = this.table.turn.bind(this.table);
      this.table.turn = (view) => turn(view, { centred: true });
    },
    /** Where a measure's label stands: fingers at their tips, the hand's length at the wrist. */
    anchor(name, ends) {
      const at = (k) => new THREE.Vector3().fromArray(ends, k < 0 ? ends.length + 3 * k : 3 * k);
      if (name === "hand_length") return at(0);
      if (name.endsWith("_length") && name !== "palm_length") return at(-1);
      return at(0).lerp(at(Math.floor(ends.length / 6)), 0.5);
    },
    choose(name) {
      this.chosen = name;
      this.table.draw();
    },
    label() {
      this.table.pivot.updateMatrixWorld(true);
      for (const [name, { parts, tag, anchor, short, long }] of Object.entries(this.rods)) {
        const chosen = name === this.chosen, seen = chosen || (!this.chosen && ALWAYS.includes(name));
        for (const part of parts) {
          part.visible = seen;
          part.material.color.set(chosen ? 0xd55e00 : 0x1b2430);
          part.material.opacity = chosen ? 1 : 0.75;
        }
        tag.hidden = !seen || !short;
        tag.classList.toggle("strong", chosen);
        if (tag.hidden) continue;
        const brief = this.table.place.clientWidth < 480 ? short.split(" ")[0] : short;
        tag.textContent = chosen || name === "hand_length" ? long : brief;
        const [x, y] = this.table.pixel(anchor);
        const below = { hand_length: 0.2, middle_length: -2.1 }[name] ?? (name.endsWith("_length") ? -1.2 : -0.5);
        tag.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, ${100 * below}%)`;
      }
    },
  };

  // -------------------------------------------------------------------------------------- videos

  function startVideo(section) {
    const tracks = data.videos[Number(section.dataset.index)], clip = find("video", section);
    const duration = Number(section.dataset.duration), place = find(".view", section);
    if (clip) { // Safari plays no data addresses
      const source = bytes(clip.src.slice(clip.src.indexOf(",") + 1));
      clip.src = URL.createObjectURL(new Blob([source], { type: "video/mp4" }));
    }
    let table = null, bodies = [];
    if (tracks.length) {
      table = new TurnTable(place, "The video's hands in 3D; arrow keys turn them");
      for (const track of tracks) {
        const steps = track.times.slice(1).map((s, i) => s - track.times[i]).sort((a, b) => a - b);
        track.reach = Math.max(0.1, 1.5 * (steps[steps.length >> 1] ?? 0)); // else it is not there
        track.verts = track.frames.map((f) => points(f.verts, f.origin));
        track.joints = track.frames.map((f) => points(f.joints, f.origin));
      }
    } else place.remove();
    let time = 0;
    const nearest = ({ times }, t) => times.reduce((best, s, i) => (Math.abs(s - t) < Math.abs(times[best] - t) ? i : best), 0);
    const show = (t) => {
      time = t;
      for (const cursor of all(".cursor", section)) cursor.style.left = `${(100 * t) / Math.max(duration, 1e-6)}%`;
      tracks.forEach((track, i) => {
        const k = nearest(track, t), near = Math.abs(track.times[k] - t) <= track.reach;
        bodies[i].group.visible = near;
        bodies[i].move(track.verts[k], track.joints[k]);
      });
      table?.draw();
    };
    if (table) {
      bodies = tracks.map((track) => new HandBody(track.right).move(track.verts[0], track.joints[0]));
      for (const body of bodies) body.skeleton.visible = true, body.material.opacity = 0.82;
      table.show(bodies, [1.1, 1.1, 0.5, 0.5, 1]);
      // turn about the middle of all frames, large enough for them
      const whole = middleOf(tracks.flatMap((track) => track.verts));
      table.centre = whole.centre, table.radius = whole.radius;
      table.pivot.position.copy(whole.centre);
      table.content.position.copy(whole.centre).negate();
      table.turn("photo", { centred: true, at_once: true });
    }
    // a long video's clip is cut: beyond its end the curves and the hands go on without it
    const beyond = (t) => clip?.duration > 0 && t > clip.duration;
    const seek = (t) => {
      if (beyond(t)) clip.pause();
      else if (clip) clip.currentTime = t;
      show(t);
    };
    clip?.addEventListener("timeupdate", () => { if (!beyond(time) || !clip.paused) show(clip.currentTime); });
    const play = () => { if (!clip.paused) { show(clip.currentTime); requestAnimationFrame(play); } };
    clip?.addEventListener("play", play);
    for (const curves of all(".curves", section)) {
      const at = (event) => {
        const box = curves.getBoundingClientRect();
        seek(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * duration);
      };
      curves.addEventListener("pointerdown", at);
      curves.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
      curves.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        seek(Math.min(Math.max(time + (step * duration) / 100, 0), duration));
      });
    }
    seek(Math.min(...tracks.map((track) => track.times[0]), duration)); // where a hand is
  }

  if (renderer) {
    stage.start();
    person.start();
    for (const section of all("section.video")) startVideo(section);
  }
  document.documentElement.dataset.ready = renderer ? "3d" : "flat";
})();
