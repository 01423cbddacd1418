// The table of jobs: the address keeps what is ticked, when the page is loaded again or a job's button leads back to it.
"use strict";
(() => {
  const address = () => {
    const here = new URL(location.href);
    here.searchParams.delete("compare");
    here.searchParams.delete("job");
    for (const one of document.querySelectorAll("input[form=asked]:checked")) here.searchParams.append("job", one.value);
    return here.pathname + here.search;
  };
  const leadBack = () => {
    const back = address();
    for (const one of document.querySelectorAll("input[name=back]")) one.value = back;
  };
  document.addEventListener("change", ({ target }) => {
    if (!target.matches("input[form=asked]")) return;
    history.replaceState(history.state, "", address());
    leadBack();
  });
  // Rows that come anew lead back to where the page began.
  document.addEventListener("changed", leadBack);
})();
