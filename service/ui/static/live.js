// Keeps a page as it is now: <main data-live="URL of a stream">, whose messages are JSON.
//   fragment {target, html, into?}  the element of that id becomes this; a new one is put first into
//   append   {target, html}         this is added at the end of the element
//   figure   {target, figure}       a chart is drawn anew (charts.js)
//   gone     {target}               there is no such element any more
//   ended                           nothing more will come
"use strict";
(() => {
  const SILENT_S = 40;
  const badge = document.getElementById("live");
  const say = (kind, text) => {
    if (badge.textContent === text) return;
    badge.hidden = !text;
    badge.className = `badge ${kind}`;
    badge.textContent = text;
  };

  // Fragments are the server's own, escaped by its templates; nothing else becomes markup.
  const parsed = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };
  const keyed = (element, key) => [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);

  // What was opened stays open, what was ticked is, and what had the focus keeps it.
  const replace = (old, html) => {
    const next = parsed(html).firstElementChild;
    const open = [...old.querySelectorAll("details[data-key][open]")].map((one) => one.dataset.key);
    const focused = old.contains(document.activeElement) && document.activeElement.dataset.key;
    for (const one of open) keyed(next, one)?.setAttribute("open", "");
    for (const one of old.querySelectorAll("input[data-key]:checked")) keyed(next, one.dataset.key)?.setAttribute("checked", "");
    // A button that is pressed while its fragment changes is still the one that is let go.
    for (const one of old.querySelectorAll("button[data-key]")) {
      const other = keyed(next, one.dataset.key);
      if (other?.isEqualNode(one)) other.replaceWith(one);
    }
    old.replaceWith(next);
    if (focused) keyed(next, focused)?.focus({ preventScroll: true });
  };

  const take = {
    fragment({ target, html, into }) {
      const old = document.getElementById(target);
      if (old) replace(old, html);
      else if (into) document.getElementById(into)?.prepend(parsed(html));
    },
    append({ target, html }) {
      document.getElementById(target)?.append(parsed(html));
    },
    gone({ target }) {
      document.getElementById(target)?.remove();
    },
    figure(detail) {
      document.dispatchEvent(new CustomEvent("figure", { detail }));
    },
  };

  const follow = (url) => {
    let source;
    let heard;
    let ended = false;
    let signedOut = false;
    let wait = 1;
    let timer;
    const connect = () => {
      source = new EventSource(url);
      source.onopen = () => {
        wait = 1;
        alive();
      };
      source.onerror = () => {
        // The browser tries again by itself, unless it was refused.
        if (source.readyState === EventSource.CLOSED) refused();
        else stale();
      };
      source.addEventListener("alive", alive);
      source.addEventListener("ended", () => {
        ended = true;
        leave();
        say("", "");
      });
      for (const [name, change] of Object.entries(take)) {
        source.addEventListener(name, (message) => {
          alive();
          change(JSON.parse(message.data));
          ages();
          document.dispatchEvent(new Event("changed"));
        });
      }
    };
    const alive = () => {
      say("fresh", "Live");
      clearTimeout(heard);
      heard = setTimeout(again, SILENT_S * 1000);
    };
    const stale = () => say("stale", "Stale: reconnecting…");
    // No event tells why it was refused. Whoever is not known any more keeps what is shown, and may sign in.
    const refused = async () => {
      again();
      const asking = new AbortController();
      const answer = await fetch(url, { signal: asking.signal }).catch(() => null);
      asking.abort();
      if (answer?.status === 404) {
        ended = true;
        leave();
        say("stale", "Gone");
      }
      if (answer?.status !== 401) return;
      signedOut = true;
      leave();
      say("stale", "Signed out: ");
      const link = document.createElement("a");
      link.href = `/ui/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
      link.textContent = "sign in";
      badge.append(link);
    };
    const again = () => {
      stale();
      source.close();
      clearTimeout(timer);
      timer = setTimeout(connect, wait * 1000);
      wait = Math.min(wait * 2, 30);
    };
    const leave = () => {
      source?.close();
      clearTimeout(heard);
      clearTimeout(timer);
    };
    // A browser opens few connections to one host: a tab that nobody sees holds none.
    const turn = () => {
      // Whoever has signed in by another tab is told so when they come back.
      if (signedOut && document.hidden) return;
      leave();
      signedOut = false;
      if (!document.hidden && !ended) connect();
    };
    document.addEventListener("visibilitychange", turn);
    addEventListener("pagehide", leave);
    addEventListener("pageshow", (event) => event.persisted && turn());
    connect();
  };

  // Ages grow by themselves, as service/ui/formats.py writes them.
  const duration = (s) => {
    if (s < 60) return `${Math.max(Math.round(s), 0)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  };
  const ages = () => {
    for (const one of document.querySelectorAll("time[data-since]")) {
      one.textContent = duration((Date.now() - Date.parse(one.dateTime)) / 1000);
    }
  };
  setInterval(ages, 10_000);

  // One menu at a time, and no question stays in one that is closed; Escape closes what was opened last.
  const opened = () => [...document.querySelectorAll("details:is(.menu, .ask)[open]")];
  document.addEventListener("click", ({ target }) => {
    for (const one of opened()) if (!one.contains(target)) one.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const last = event.key === "Escape" && opened().at(-1);
    if (!last) return;
    last.open = false;
    last.querySelector("summary").focus();
  });

  const { live } = document.getElementById("main").dataset;
  if (live) follow(live);
})();
