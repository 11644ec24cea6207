// Three comforts; the pages work without them: a page stays where it was after a form, counts down a session's last
// minute, and races two tabs by itself.
"use strict";

const KEY = "holdall-demo-scroll";
const kept = sessionStorage.getItem(KEY);
if (kept !== null) {
  sessionStorage.removeItem(KEY);
  scrollTo({ top: Number(kept), behavior: "instant" });
}

document.addEventListener("submit", (event) => {
  sessionStorage.setItem(KEY, String(scrollY));
  if (event.target.dataset.race === undefined) return;
  event.preventDefault();
  const race = crypto.randomUUID();
  const form = new URLSearchParams(new FormData(event.target, event.submitter));
  form.set("race", race);
  const tab = () => fetch("/do", { method: "POST", body: form, redirect: "manual" });
  Promise.allSettled([tab(), tab()]).then(() => location.assign(`/break?race=${race}`));
});

const left = document.querySelector("[data-seconds]");
if (left !== null && Number(left.dataset.seconds) < 60) {
  const end = Date.now() + Number(left.dataset.seconds) * 1000;
  const tick = () => {
    const seconds = Math.ceil((end - Date.now()) / 1000);
    if (seconds < 0) {
      sessionStorage.setItem(KEY, String(scrollY));
      location.assign("/");
    } else {
      left.textContent = `${seconds} s`;
      setTimeout(tick, 250);
    }
  };
  tick();
}
