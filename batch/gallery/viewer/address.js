// The address of what is seen, to be handed on: #layer-3, #layer-3/faces-5000 or #/faces-5000.

// Return what a layer is called in an address: other than its label it is so only once.
export function addressOf(layer, layers) {
  const named = (one) => one.label.trim().toLowerCase().replace(/[\s/]+/g, "-");
  const name = named(layer);
  const same = layers.filter((one) => named(one) === name);
  return same.length > 1 ? `${name}-${same.indexOf(layer) + 1}` : name;
}

// Return layer and part that the address asks for, "" where it says nothing of them.
export function read() {
  const [layer = "", part = ""] = location.hash.slice(1).split("/").map(plain);
  return { layer, part };
}

export function write(layer, part) {
  const hash = [layer, part].map(encodeURIComponent).join("/").replace(/\/$/, "");
  const address = hash ? `#${hash}` : location.pathname + location.search;
  try {
    if (location.hash !== (hash && `#${hash}`)) history.replaceState(null, "", address);
  } catch { /* a browser that allows this to no file, or not so often: the view is the same */ }
}

function plain(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return "";
  }
}
