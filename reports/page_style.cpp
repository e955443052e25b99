#include "reports/page_style.h"

namespace fcsa::reports {

// Series colours: blue, vermilion and grey of Okabe and Ito, with different markers, so that they can be told
// apart without colour, and so have peers; ramps grow in lightness.
std::string_view page_style() {
  return R"css(
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f7f8fa; --ink: #1d2430; --soft: #586173; --faint: #8a93a3; --rule: #dfe3ea;
  --grid: #e3e7ee; --shade: #1d243038; --link: #0b5cad; --warn-paper: #fff6e0; --warn-rule: #e3a008;
  --tuned: #0068a8; --baseline: #d55e00; --unfused: #6b7280;
  --ramp1: #440154; --ramp2: #46327e; --ramp3: #365c8d; --ramp4: #277f8e;
  --ramp5: #1fa187; --ramp6: #3fb162; --ramp7: #8bb92c; --ramp8: #c9a60a;
  --peer1: #007a5e; --peer2: #a03c8c; --peer3: #8f6d00; --peer4: #5b4fd6;
  --peer5: #00808c; --peer6: #8a4a1f; --peer7: #b3184f; --peer8: #4f7a1f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161d; --panel: #191f29; --ink: #e4e8ef; --soft: #a3adbd; --faint: #707b8d; --rule: #2c3543;
    --grid: #2a3341; --shade: #000000b0; --link: #7cb8f5; --warn-paper: #2b2412; --warn-rule: #b98a12;
    --tuned: #56b4e9; --baseline: #f0894a; --unfused: #a7afbc;
    --ramp1: #9a86e8; --ramp2: #7d96ea; --ramp3: #5aabdf; --ramp4: #3dbccb;
    --ramp5: #3fcaa4; --ramp6: #74d570; --ramp7: #b8de3f; --ramp8: #fde725;
    --peer1: #2fc79b; --peer2: #dd8fcd; --peer3: #d9b23c; --peer4: #a39bff;
    --peer5: #45c3cf; --peer6: #cf9468; --peer7: #f0749d; --peer8: #9ccb62;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main, header, footer { max-width: 90rem; margin: 0 auto; padding: 0 clamp(1rem, 3vw, 2.5rem); }
header { padding-top: 2rem; }
footer { padding-top: 1.5rem; padding-bottom: 2.5rem; color: var(--soft); font-size: .875rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .25rem; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { margin: .4rem 0; max-width: 75ch; }
a { color: var(--link); }
.lead, .sub { color: var(--soft); max-width: none; }
section { margin-top: 2.25rem; padding-top: 1.5rem; border-top: 1px solid var(--rule); }
code { font: .875em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.notes { margin: 1rem 0 0; padding: .6rem 1rem; background: var(--warn-paper); border-left: 4px solid var(--warn-rule);
  border-radius: 4px; max-width: 85ch; }
.notes ul { margin: 0; padding-left: 1.1rem; }
.figures { display: grid; gap: 1rem; margin-top: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
@media (min-width: 56rem) {
  .figures.by-device { grid-template-columns: repeat(var(--devices), minmax(22rem, 1fr)); overflow-x: auto; }
}
figure { margin: 0; padding: .8rem 1rem .6rem; background: var(--panel); border: 1px solid var(--rule); border-radius: 6px;
  min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .35rem; }
figcaption small { display: block; font-weight: 400; font-size: .8125rem; color: var(--soft); overflow-wrap: anywhere; }
svg.plot { display: block; width: 100%; height: auto; max-width: 27rem; margin: 0 auto; }
ul.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; margin: 0 0 .2rem; padding: 0;
  font-size: .8125rem; }
ul.legend svg { width: 1.75rem; height: .75rem; margin-right: .35rem; vertical-align: -.05em; }
svg.plot text { font-family: inherit; }
.note, .missing { font-size: .8125rem; color: var(--soft); margin: .25rem 0; }
.missing { padding: 2.5rem .5rem; text-align: center; }
details { margin: .35rem 0; }
summary { cursor: pointer; color: var(--soft); font-size: .875rem; }
/* A shadow at an edge where there is more to scroll to: the covers move with the content. */
.scroll { overflow-x: auto; margin: .5rem 0; --under: var(--paper);
  background:
    linear-gradient(to right, var(--under) 40%, transparent) left / 2.5rem 100% local,
    linear-gradient(to left, var(--under) 40%, transparent) right / 2.5rem 100% local,
    linear-gradient(to right, var(--shade), transparent) left / .9rem 100% scroll,
    linear-gradient(to left, var(--shade), transparent) right / .9rem 100% scroll;
  background-repeat: no-repeat; }
figure .scroll { --under: var(--panel); }
.scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 600; border-bottom-color: var(--faint); vertical-align: bottom; }
tbody th { font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.code { min-width: 17rem; }
td.wrap:not(:empty) { min-width: 10.5rem; overflow-wrap: anywhere; }
td.line { min-width: 22rem; }
#overview th:first-child { min-width: 10rem; }
#overview td { min-width: 6.5rem; }
td.share { white-space: nowrap; min-width: 9rem; }
td.share span { display: inline-block; width: 5.5rem; height: .7em; margin-right: .5rem; border-radius: 2px;
  background: linear-gradient(to right, var(--tuned) var(--share), var(--grid) var(--share)); }
figure table { font-size: .8125rem; }
.figures:not(.by-device) figure.wide { grid-column: 1 / -1; }
.devices { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.devices > div { min-width: 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; margin: .5rem 0; font-size: .875rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: .5rem 0; padding: .7rem .9rem; background: var(--panel); border: 1px solid var(--rule); border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
ul.commands { margin: .3rem 0; padding-left: 1.1rem; font-size: .8125rem; overflow-wrap: anywhere; }
@media print {
  figure, tr, dl { break-inside: avoid; }
  .scroll { overflow: visible; }
}
)css";
}

}  // namespace fcsa::reports
