// Before anything is drawn: what was chosen holds, else what the system prefers.
(() => {
  const apply = (theme) => {
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  let chosen = '';
  try {
    chosen = localStorage.getItem('theme') ?? '';
  } catch {
    // Storage may be forbidden; then a choice lasts as long as the page.
  }
  apply(chosen);
  document.addEventListener('DOMContentLoaded', () => {
    const select = document.getElementById('theme');
    select.value = chosen;
    select.addEventListener('change', () => {
      apply(select.value);
      try {
        localStorage.setItem('theme', select.value);
      } catch {
        // As above.
      }
    });
  });
})();
