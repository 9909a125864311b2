"""How the page looks, by day and by night."""

STYLE = """
:root{color-scheme:light dark;--bg:#fbfaf8;--fg:#1d1c1a;--dim:#6b6861;--line:#e3dfd8;--card:#fff;--code:#f4f1ec;
--good:#17663a;--good-bg:#dcf1e3;--bad:#9b1c1c;--bad-bg:#fbe2e0;--so:#5c5340;--so-bg:#efe9dc;--at:#3c5a99}
@media (prefers-color-scheme:dark){:root{--bg:#161514;--fg:#e8e4dd;--dim:#9a958b;--line:#34312d;--card:#1e1c1a;
--code:#262421;--good:#8fdcab;--good-bg:#163823;--bad:#ffa69e;--bad-bg:#47191a;--so:#d9cdb2;--so-bg:#37322a;--at:#9db8f2}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.35rem;line-height:1.4;font-weight:600;margin:0 0 .5rem}
h2{font-size:1.15rem;margin:2.5rem 0 .75rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:.85rem;letter-spacing:.06em;color:var(--dim);margin:1.75rem 0 .25rem}
h4{font-size:.95rem;margin:1rem 0 .25rem}
p{margin:.4rem 0}
.words{white-space:pre-wrap;overflow-wrap:anywhere}
blockquote{margin:1rem 0;padding:.6rem 1rem;border-left:3px solid var(--line);background:var(--card);
white-space:pre-wrap;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.75rem 0;font-size:.9rem}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
code,pre{font:.84rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{overflow-wrap:anywhere}
pre{margin:.5rem 0;padding:.75rem;background:var(--code);border-radius:6px;overflow-x:auto;max-height:32rem}
details,.claim{background:var(--card);border:1px solid var(--line);border-radius:8px;
margin:.4rem 0;padding:.45rem .8rem}
summary{cursor:pointer;list-style-position:outside;margin-left:1rem}
summary:hover{color:var(--at)}
.badge{display:inline-block;padding:0 .5rem;border-radius:99px;font-size:.78rem;font-weight:600;line-height:1.5rem}
.good{color:var(--good);background:var(--good-bg)}.bad{color:var(--bad);background:var(--bad-bg)}
.so{color:var(--so);background:var(--so-bg)}
small{color:var(--dim)}
.fact{border-top:1px solid var(--line);margin-top:.5rem;padding-top:.5rem}
.diff span{display:block;min-height:1.2em}.add{color:var(--good)}.del{color:var(--bad)}.at{color:var(--at)}
@media print{pre{max-height:none;white-space:pre-wrap}}
"""
