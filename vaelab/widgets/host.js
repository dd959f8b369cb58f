// Runs an explorer's module in a page without a kernel, in place of its picture. vaelab/widgets/explorer.py writes
// this text into the page, once for each explorer, behind its picture, its state and its module.
(async (place) => {
  const read = (part) => place.querySelector(`[data-part="${part}"]`).textContent;
  try {
    const state = JSON.parse(read("state"));
    for (const [name, letters] of Object.entries(state.buffers)) {
      const bytes = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
      state.data[name] = new DataView(bytes.buffer);
    }
    const address = URL.createObjectURL(new Blob([read("module")], { type: "text/javascript" }));
    const module = await import(address);
    URL.revokeObjectURL(address);
    const model = {
      get: (name) => state[name],
      set: (name, value) => {
        state[name] = value;
      },
      save_changes() {},
      on() {},
      off() {},
    };
    const el = document.createElement("div");
    place.append(el);
    place.close = module.default.render({ model, el });
    place.querySelector("img").remove();
  } catch (error) {
    const sentence = document.createElement("p");
    sentence.textContent = `The explorer did not start here (${error.message}); the picture shows its first state.`;
    place.append(sentence);
  }
})(document.currentScript.parentElement);
