// The stick and the buttons of walking on a screen that is touched.

export function onScreenControls(root, walk) {
  const stick = root.querySelector("[data-touch=stick]"), knob = stick.firstElementChild;
  let finger = null;
  const move = (event) => {
    if (event.pointerId !== finger) return;
    const { left, top, width, height } = stick.getBoundingClientRect();
    const x = (event.clientX - left) / width * 2 - 1, y = (event.clientY - top) / height * 2 - 1;
    const far = Math.max(Math.hypot(x, y), 1);
    walk.stick.set(x / far, 0, y / far).multiplyScalar(1.6);
    knob.style.transform = `translate(${x / far * 50}%, ${y / far * 50}%)`;
    walk.stage.wake();
  };
  stick.addEventListener("pointerdown", (event) => {
    finger = event.pointerId;
    stick.setPointerCapture(finger);
    move(event);
  });
  stick.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) {
    stick.addEventListener(end, () => {
      finger = null;
      walk.stick.set(0, 0, 0);
      knob.style.transform = "";
    });
  }
  for (const [name, code] of [["up", "KeyE"], ["down", "KeyQ"]]) {
    const key = root.querySelector(`[data-touch=${name}]`);
    key.addEventListener("pointerdown", () => {
      walk.held.add(code);
      walk.stage.wake();
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      key.addEventListener(end, () => walk.held.delete(code));
    }
  }
}
