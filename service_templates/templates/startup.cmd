@chcp 65001 >nul
@rem Written by gateway install. Moongate {version}
@start "Moongate" /d "{directory}" "{command}" {arguments}
