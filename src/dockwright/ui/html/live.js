// Puts the pieces that the server sends into the page. They are HTML in which all foreign text is escaped already.
"use strict";
(() => {
  const link = document.getElementById("link");
  const source = new EventSource(link.dataset.events);
  source.onopen = () => { link.textContent = "live"; link.className = "on"; };
  source.onerror = () => { link.textContent = "not connected; trying again"; link.className = "off"; };
  source.onmessage = (message) => {
    const piece = JSON.parse(message.data);
    if (piece.do === "reload") {
      source.close();
      location.reload();
      return;
    }
    const follows = scrollY > 0 && innerHeight + scrollY >= document.documentElement.scrollHeight - 40;
    const shape = document.createElement("template");
    shape.innerHTML = piece.html;
    const old = piece.id && document.getElementById(piece.id);
    const place = document.getElementById(piece.into);
    if (old) {
      const focused = old.contains(document.activeElement);
      const fresh = shape.content.firstElementChild;
      if (old.matches(".task") && old.innerHTML !== fresh.innerHTML) fresh.classList.add("new");
      old.replaceWith(fresh);
      if (focused) fresh.querySelector("a")?.focus();
    } else if (place) {
      (place.querySelector("table") ?? place).append(shape.content);
      if (follows) scrollTo(0, document.documentElement.scrollHeight);
    }
  };
})();
