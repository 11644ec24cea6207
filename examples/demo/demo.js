// Two comforts; the page works without them: it stays where it was after a form, and counts down a session's last minute.
"use strict";

const KEY = "holdall-demo-scroll";
const kept = sessionStorage.getItem(KEY);
if (kept !== null) {
  sessionStorage.removeItem(KEY);
  scrollTo({ top: Number(kept), behavior: "instant" });
}
document.addEventListener("submit", () => sessionStorage.setItem(KEY, String(scrollY)));

const left = document.querySelector("[data-seconds]");
if (left !== null && Number(left.dataset.seconds) < 60) {
  const end = Date.now() + Number(left.dataset.seconds) * 1000;
  const tick = () => {
    const seconds = Math.ceil((end - Date.now()) / 1000);
    if (seconds < 0) {
      sessionStorage.setItem(KEY, String(scrollY));
      location.reload();
    } else {
      left.textContent = `${seconds} s`;
      setTimeout(tick, 250);
    }
  };
  tick();
}
