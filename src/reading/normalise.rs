//! Normalisation for matching only: NFKC, what shows nothing stripped, case, accents, lookalikes and traditional
//! characters folded. The original bytes are what is forwarded.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use super::lookalikes::{is_mixed, latin_twin, undressed};

/// Text with a way back to the bytes it came from.
#[derive(Debug, Clone)]
pub struct Normalised {
    /// The normalised text.
    pub text: String,
    /// Where the distance between the two texts changes: (byte here, byte there), ascending.
    shifts: Vec<(usize, usize)>,
    /// Line breaks that stand for text left out.
    joints: Vec<usize>,
}

impl Normalised {
    /// Normalises the given ranges of `text`, joined by line breaks.
    pub(super) fn of(text: &str, ranges: &[Range<usize>]) -> Self {
        let total = ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
        let mut out = Normalised {
            text: String::with_capacity(total + ranges.len()),
            shifts: vec![(0, 0)],
            joints: Vec::new(),
        };
        for (index, range) in ranges.iter().enumerate() {
            if index > 0 {
                out.join();
            }
            out.append(text, range.clone());
        }
        out
    }

    /// Only these ranges of the normalised text, joined by line breaks.
    pub(super) fn keep(&self, ranges: &[Range<usize>]) -> Self {
        let mut out = Normalised { text: String::new(), shifts: vec![(0, 0)], joints: Vec::new() };
        for (index, range) in ranges.iter().enumerate() {
            if index > 0 {
                out.join();
            }
            let base = out.text.len();
            out.shifts.push((base, self.original(range.start)));
            let inside = self.shifts.iter().filter(|(here, _)| range.start < *here && *here <= range.end);
            out.shifts.extend(inside.map(|(here, there)| (base + here - range.start, *there)));
            out.text.push_str(&self.text[range.clone()]);
            let joints = self.joints.iter().filter(|at| range.contains(at));
            out.joints.extend(joints.map(|at| base + at - range.start));
        }
        out
    }

    fn join(&mut self) {
        self.joints.push(self.text.len());
        self.text.push('\n');
    }

    /// Where text was left out, as bytes of the normalised text.
    pub(super) fn joints(&self) -> &[usize] {
        &self.joints
    }

    fn append(&mut self, text: &str, range: Range<usize>) {
        let base = range.start;
        let part = &text[range.clone()];
        let mut word = Word::default();
        for (offset, c) in part.char_indices() {
            self.note_shift(base + offset);
            let rest = &part[offset + c.len_utf8()..];
            if c.is_ascii() {
                self.push_ascii(c, rest);
            } else if shows_nothing(c) {
            } else if c == '’' && self.is_apostrophe(rest) {
                self.text.push('\'');
            } else {
                match latin_twin(c).filter(|_| word.is_mixed_at(part, offset)) {
                    Some(twin) => self.text.push(twin),
                    None => fold_char(c, &mut self.text),
                }
            }
        }
        self.note_shift(range.end);
    }

    fn push_ascii(&mut self, c: char, rest: &str) {
        match c {
            '\r' if next_shown(rest) == Some('\n') => {}
            '\r' | '\u{b}' | '\u{c}' => self.text.push('\n'),
            '\n' | '\t' => self.text.push(c),
            _ if shows_nothing(c) => {}
            _ => self.text.push(c.to_ascii_lowercase()),
        }
    }

    /// Between two letters the mark is no quotation mark.
    fn is_apostrophe(&self, rest: &str) -> bool {
        let letter = |next: char| {
            let mut plain = String::new();
            fold_char(next, &mut plain);
            latin_twin(next).is_some() || plain.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        self.text.ends_with(|c: char| c.is_ascii_alphabetic()) && next_shown(rest).is_some_and(letter)
    }

    fn note_shift(&mut self, there: usize) {
        let here = self.text.len();
        let (last_here, last_there) = *self.shifts.last().expect("starts with one entry");
        // Saturating: a run of stripped marks leaves `here` in place while `there` moves on.
        if there - last_there != here - last_here {
            self.shifts.push((here, there));
        }
    }

    /// The byte of the original text that byte `here` of the normalised text came from.
    #[must_use]
    pub fn original(&self, here: usize) -> usize {
        let index = self.shifts.partition_point(|(start, _)| *start <= here) - 1;
        let (start, there) = self.shifts[index];
        there + (here - start)
    }
}

/// The word under the reader, looked at once.
#[derive(Default)]
struct Word {
    end: usize,
    mixed: bool,
}

impl Word {
    /// Whether the word around byte `at` of `text` mixes Latin with letters that look like it.
    fn is_mixed_at(&mut self, text: &str, at: usize) -> bool {
        if at >= self.end {
            // Chinese and its neighbours put no gap between a Latin word and their own.
            let apart =
                |c: char| matches!(c, '\u{2e80}'..='\u{d7ff}') || !(c.is_alphabetic() || shows_nothing(c));
            let before = &text[self.end..at];
            let start =
                before.char_indices().rfind(|(_, c)| apart(*c)).map_or(0, |(gap, c)| gap + c.len_utf8());
            let start = self.end + start;
            self.end = text[at..].find(apart).map_or(text.len(), |length| at + length);
            self.mixed = is_mixed(&text[start..self.end]);
        }
        self.mixed
    }
}

fn next_shown(rest: &str) -> Option<char> {
    rest.chars().find(|c| !shows_nothing(*c))
}

/// Appends the folded form of one character.
pub fn fold_char(c: char, out: &mut String) {
    if keeps_its_form(c) {
        out.push(c);
        return;
    }
    match c {
        // CJK ideographs are the bulk of Chinese text and need no Unicode tables.
        '\u{4e00}'..='\u{9fff}' => out.push(simplified(c)),
        '\u{2010}' | '\u{2011}' => out.push('-'),
        '\u{2044}' | '\u{2215}' | '\u{29f8}' => out.push('/'),
        '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
        '\u{1680}' | '\u{2800}' => out.push(' '),
        _ => match undressed(c) {
            Some(plain) => out.push(plain),
            None => c.nfkc().flat_map(char::to_lowercase).for_each(|plain| push_bare(plain, out)),
        },
    }
}

/// Letters without their accents, so that composed and decomposed text read the same. Scripts whose marks are
/// letters of their own keep them.
fn push_bare(c: char, out: &mut String) {
    match c {
        '\u{c0}'..='\u{5ff}' | '\u{1e00}'..='\u{1fff}' => out.extend(c.nfd().filter(|part| !is_mark(*part))),
        _ if is_mark(c) => {}
        _ => out.push(c),
    }
}

/// Superscripts, fractions and circled numbers carry meaning that NFKC would erase: x² is not x2.
fn keeps_its_form(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '¼'..='¾' | '⁰'..='₎' | '⅐'..='⅞' | '①'..='⑳' | '…')
}

/// Characters that leave the words as they are to the eye.
fn shows_nothing(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control() && !matches!(c, '\t'..='\r');
    }
    is_invisible(c) || is_mark(c)
}

/// Zero-width and bidi controls, soft hyphen, fillers, variation selectors, tag characters, annotation anchors.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{0080}'..='\u{0084}' | '\u{0086}'..='\u{009f}' | '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Combining marks that may be piled on any letter.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// The simplified form of the traditional characters that the rules' vocabulary uses, so that one rule serves
/// both scripts. Not a converter: a character outside the rules' words may stay as it is.
fn simplified(c: char) -> char {
    TRADITIONAL
        .binary_search_by_key(&c, |(traditional, _)| *traditional)
        .map_or(c, |index| TRADITIONAL[index].1)
}

#[rustfmt::skip]
/// Sorted by the traditional character; a test holds the order.
const TRADITIONAL: &[(char, char)] = &[
    ('佈', '布'), ('併', '并'), ('來', '来'), ('係', '系'), ('倆', '俩'), ('倉', '仓'),
    ('個', '个'), ('們', '们'), ('偉', '伟'), ('側', '侧'), ('偵', '侦'), ('備', '备'),
    ('傳', '传'), ('傷', '伤'), ('僅', '仅'), ('價', '价'), ('儀', '仪'), ('億', '亿'),
    ('儘', '尽'), ('優', '优'), ('兒', '儿'), ('內', '内'), ('兩', '两'), ('冊', '册'),
    ('凍', '冻'), ('別', '别'), ('則', '则'), ('剛', '刚'), ('創', '创'), ('劃', '划'),
    ('劇', '剧'), ('劍', '剑'), ('劑', '剂'), ('動', '动'), ('務', '务'), ('勝', '胜'),
    ('勞', '劳'), ('勢', '势'), ('勵', '励'), ('匯', '汇'), ('區', '区'), ('協', '协'),
    ('卻', '却'), ('厭', '厌'), ('參', '参'), ('員', '员'), ('唸', '念'), ('問', '问'),
    ('啟', '启'), ('喪', '丧'), ('單', '单'), ('嗎', '吗'), ('嘗', '尝'), ('嚴', '严'),
    ('國', '国'), ('圍', '围'), ('圓', '圆'), ('圖', '图'), ('團', '团'), ('執', '执'),
    ('堅', '坚'), ('報', '报'), ('場', '场'), ('塊', '块'), ('塵', '尘'), ('墊', '垫'),
    ('壓', '压'), ('壞', '坏'), ('壽', '寿'), ('夠', '够'), ('夢', '梦'), ('奪', '夺'),
    ('奮', '奋'), ('妳', '你'), ('婦', '妇'), ('媽', '妈'), ('孫', '孙'), ('學', '学'),
    ('實', '实'), ('寧', '宁'), ('審', '审'), ('寫', '写'), ('寬', '宽'), ('寶', '宝'),
    ('將', '将'), ('專', '专'), ('尋', '寻'), ('對', '对'), ('導', '导'), ('屆', '届'),
    ('層', '层'), ('屬', '属'), ('島', '岛'), ('嶺', '岭'), ('師', '师'), ('帶', '带'),
    ('幣', '币'), ('幫', '帮'), ('幹', '干'), ('幾', '几'), ('庫', '库'), ('廠', '厂'),
    ('廣', '广'), ('廳', '厅'), ('張', '张'), ('強', '强'), ('彈', '弹'), ('彙', '汇'),
    ('後', '后'), ('徑', '径'), ('從', '从'), ('復', '复'), ('徵', '征'), ('恆', '恒'),
    ('愛', '爱'), ('態', '态'), ('慣', '惯'), ('慮', '虑'), ('憂', '忧'), ('憲', '宪'),
    ('憶', '忆'), ('應', '应'), ('懷', '怀'), ('戀', '恋'), ('戰', '战'), ('戲', '戏'),
    ('戶', '户'), ('換', '换'), ('損', '损'), ('擇', '择'), ('擊', '击'), ('擋', '挡'),
    ('擔', '担'), ('據', '据'), ('擬', '拟'), ('擴', '扩'), ('攝', '摄'), ('敗', '败'),
    ('敘', '叙'), ('敵', '敌'), ('數', '数'), ('斷', '断'), ('時', '时'), ('暫', '暂'),
    ('曆', '历'), ('曉', '晓'), ('書', '书'), ('會', '会'), ('朧', '胧'), ('東', '东'),
    ('條', '条'), ('棄', '弃'), ('楊', '杨'), ('業', '业'), ('極', '极'), ('構', '构'),
    ('槓', '杠'), ('樂', '乐'), ('標', '标'), ('樣', '样'), ('樹', '树'), ('橋', '桥'),
    ('機', '机'), ('檔', '档'), ('檢', '检'), ('櫃', '柜'), ('欄', '栏'), ('權', '权'),
    ('歎', '叹'), ('歐', '欧'), ('歡', '欢'), ('歲', '岁'), ('歷', '历'), ('歸', '归'),
    ('殘', '残'), ('殺', '杀'), ('毀', '毁'), ('氣', '气'), ('氫', '氢'), ('決', '决'),
    ('沒', '没'), ('淨', '净'), ('減', '减'), ('測', '测'), ('湯', '汤'), ('準', '准'),
    ('溫', '温'), ('滿', '满'), ('漢', '汉'), ('漸', '渐'), ('潔', '洁'), ('潛', '潜'),
    ('澤', '泽'), ('濃', '浓'), ('濕', '湿'), ('濟', '济'), ('濾', '滤'), ('灣', '湾'),
    ('災', '灾'), ('為', '为'), ('無', '无'), ('熱', '热'), ('燈', '灯'), ('營', '营'),
    ('爭', '争'), ('爺', '爷'), ('牆', '墙'), ('牽', '牵'), ('犧', '牺'), ('狀', '状'),
    ('獎', '奖'), ('獨', '独'), ('獲', '获'), ('現', '现'), ('瑪', '玛'), ('環', '环'),
    ('產', '产'), ('畢', '毕'), ('畫', '画'), ('異', '异'), ('當', '当'), ('疊', '叠'),
    ('痠', '酸'), ('療', '疗'), ('發', '发'), ('盜', '盗'), ('盡', '尽'), ('監', '监'),
    ('盤', '盘'), ('矯', '矫'), ('碼', '码'), ('磚', '砖'), ('礎', '础'), ('禍', '祸'),
    ('禮', '礼'), ('稅', '税'), ('種', '种'), ('稱', '称'), ('穀', '谷'), ('積', '积'),
    ('穩', '稳'), ('窮', '穷'), ('競', '竞'), ('筆', '笔'), ('節', '节'), ('範', '范'),
    ('築', '筑'), ('簡', '简'), ('簽', '签'), ('糧', '粮'), ('紀', '纪'), ('約', '约'),
    ('紅', '红'), ('納', '纳'), ('純', '纯'), ('紙', '纸'), ('級', '级'), ('細', '细'),
    ('紹', '绍'), ('終', '终'), ('組', '组'), ('結', '结'), ('絕', '绝'), ('絡', '络'),
    ('給', '给'), ('統', '统'), ('經', '经'), ('綜', '综'), ('綠', '绿'), ('維', '维'),
    ('網', '网'), ('緊', '紧'), ('線', '线'), ('編', '编'), ('緩', '缓'), ('練', '练'),
    ('縣', '县'), ('總', '总'), ('績', '绩'), ('織', '织'), ('繞', '绕'), ('繼', '继'),
    ('續', '续'), ('罰', '罚'), ('羅', '罗'), ('義', '义'), ('習', '习'), ('聖', '圣'),
    ('聞', '闻'), ('聯', '联'), ('聲', '声'), ('職', '职'), ('聽', '听'), ('脫', '脱'),
    ('腦', '脑'), ('腫', '肿'), ('腳', '脚'), ('膚', '肤'), ('膽', '胆'), ('臉', '脸'),
    ('臨', '临'), ('與', '与'), ('舉', '举'), ('舊', '旧'), ('萬', '万'), ('薦', '荐'),
    ('藝', '艺'), ('藥', '药'), ('蘇', '苏'), ('處', '处'), ('虛', '虚'), ('號', '号'),
    ('蟲', '虫'), ('術', '术'), ('衛', '卫'), ('裏', '里'), ('補', '补'), ('裝', '装'),
    ('裡', '里'), ('複', '复'), ('襲', '袭'), ('見', '见'), ('規', '规'), ('視', '视'),
    ('親', '亲'), ('覺', '觉'), ('覽', '览'), ('觀', '观'), ('訂', '订'), ('計', '计'),
    ('訊', '讯'), ('訓', '训'), ('託', '托'), ('記', '记'), ('設', '设'), ('許', '许'),
    ('訴', '诉'), ('診', '诊'), ('詐', '诈'), ('評', '评'), ('詞', '词'), ('詢', '询'),
    ('試', '试'), ('詩', '诗'), ('話', '话'), ('該', '该'), ('詳', '详'), ('誇', '夸'),
    ('認', '认'), ('語', '语'), ('誠', '诚'), ('誤', '误'), ('說', '说'), ('誰', '谁'),
    ('課', '课'), ('調', '调'), ('談', '谈'), ('請', '请'), ('論', '论'), ('諷', '讽'),
    ('諾', '诺'), ('謊', '谎'), ('講', '讲'), ('謝', '谢'), ('證', '证'), ('識', '识'),
    ('譜', '谱'), ('譯', '译'), ('議', '议'), ('護', '护'), ('讀', '读'), ('變', '变'),
    ('讓', '让'), ('讚', '赞'), ('豐', '丰'), ('豬', '猪'), ('貓', '猫'), ('貝', '贝'),
    ('負', '负'), ('財', '财'), ('貢', '贡'), ('貨', '货'), ('販', '贩'), ('責', '责'),
    ('貴', '贵'), ('買', '买'), ('費', '费'), ('貿', '贸'), ('賀', '贺'), ('資', '资'),
    ('賓', '宾'), ('賞', '赏'), ('賣', '卖'), ('質', '质'), ('賬', '账'), ('賴', '赖'),
    ('購', '购'), ('賽', '赛'), ('贈', '赠'), ('贊', '赞'), ('趙', '赵'), ('跡', '迹'),
    ('蹟', '迹'), ('車', '车'), ('軍', '军'), ('軟', '软'), ('軸', '轴'), ('較', '较'),
    ('載', '载'), ('輔', '辅'), ('輕', '轻'), ('輛', '辆'), ('輪', '轮'), ('輯', '辑'),
    ('輸', '输'), ('轉', '转'), ('辦', '办'), ('辭', '辞'), ('農', '农'), ('迴', '回'),
    ('這', '这'), ('進', '进'), ('遊', '游'), ('運', '运'), ('過', '过'), ('達', '达'),
    ('違', '违'), ('遞', '递'), ('遠', '远'), ('適', '适'), ('遲', '迟'), ('遷', '迁'),
    ('選', '选'), ('遺', '遗'), ('邁', '迈'), ('還', '还'), ('邊', '边'), ('邏', '逻'),
    ('郵', '邮'), ('鄉', '乡'), ('鄰', '邻'), ('醫', '医'), ('醬', '酱'), ('釀', '酿'),
    ('釋', '释'), ('針', '针'), ('鈴', '铃'), ('銀', '银'), ('銷', '销'), ('鋼', '钢'),
    ('錄', '录'), ('錢', '钱'), ('錦', '锦'), ('錯', '错'), ('錶', '表'), ('鍵', '键'),
    ('鎖', '锁'), ('鎮', '镇'), ('鏈', '链'), ('鐘', '钟'), ('鐵', '铁'), ('鑑', '鉴'),
    ('長', '长'), ('門', '门'), ('閃', '闪'), ('閉', '闭'), ('開', '开'), ('閒', '闲'),
    ('間', '间'), ('閱', '阅'), ('關', '关'), ('陣', '阵'), ('陰', '阴'), ('陳', '陈'),
    ('陸', '陆'), ('陽', '阳'), ('隊', '队'), ('階', '阶'), ('際', '际'), ('隨', '随'),
    ('險', '险'), ('隱', '隐'), ('隻', '只'), ('雖', '虽'), ('雙', '双'), ('雜', '杂'),
    ('雞', '鸡'), ('離', '离'), ('難', '难'), ('雲', '云'), ('電', '电'), ('靈', '灵'),
    ('靜', '静'), ('韓', '韩'), ('響', '响'), ('頁', '页'), ('頂', '顶'), ('項', '项'),
    ('順', '顺'), ('須', '须'), ('預', '预'), ('領', '领'), ('頭', '头'), ('頸', '颈'),
    ('頻', '频'), ('顆', '颗'), ('題', '题'), ('額', '额'), ('顏', '颜'), ('願', '愿'),
    ('類', '类'), ('顧', '顾'), ('顯', '显'), ('風', '风'), ('颱', '台'), ('飛', '飞'),
    ('養', '养'), ('餘', '余'), ('館', '馆'), ('馬', '马'), ('驅', '驱'), ('驕', '骄'),
    ('驗', '验'), ('驚', '惊'), ('體', '体'), ('鬆', '松'), ('鬥', '斗'), ('鬧', '闹'),
    ('魚', '鱼'), ('魯', '鲁'), ('鮮', '鲜'), ('鳥', '鸟'), ('鴨', '鸭'), ('鹼', '碱'),
    ('鹽', '盐'), ('麗', '丽'), ('麥', '麦'), ('麼', '么'), ('黃', '黄'), ('點', '点'),
    ('黨', '党'), ('齊', '齐'), ('齒', '齿'), ('龍', '龙'), ('龜', '龟'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        Normalised::of(text, std::slice::from_ref(&(0..text.len()))).text
    }

    #[test]
    fn folds_width_case_and_script() {
        assert_eq!(folded("ＡＢｃ１２，？："), "abc12,?:");
        assert_eq!(folded("請證明這個問題"), "请证明这个问题");
        assert_eq!(folded("𝑥² + ½ ①"), "x² + ½ ①");
    }

    #[test]
    fn strips_what_shows_nothing() {
        assert_eq!(folded("pro\u{200b}ve \u{202e}th\u{ad}at\u{feff}"), "prove that");
        assert_eq!(folded("p\u{336}r\u{e0041}o\u{fe0f}v\u{34f}e\0 1\u{fe0f}\u{20e3}"), "prove 1");
    }

    #[test]
    fn folds_what_looks_the_same() {
        for (text, plain) in [
            ("рrоvе", "prove"),
            ("ᴘʀᴏᴠᴇ 🅿🆁🅾🆅🅴 ⓟⓡⓞⓥⓔ 𝐩𝐫𝐨𝐯𝐞", "prove prove prove prove"),
            ("/nо_think ∕think", "/no_think /think"),
            ("请用prоof证明", "请用proof证明"),
            ("step‑by‐step", "step-by-step"),
            ("don’t ‘quote’", "don't ‘quote’"),
            ("café cafe\u{301}", "cafe cafe"),
            ("a\r\nb\rc\u{2028}d", "a\nb\nc\nd"),
            ("где мой сок? sin\u{3b1} \u{394}x", "где мои сок? sin\u{3b1} \u{3b4}x"),
        ] {
            assert_eq!(folded(text), plain, "{text:?}");
        }
    }

    #[test]
    fn kept_parts_map_back() {
        let text = "Ａa<x>２</x>ｂ\u{200b}c";
        let whole = Normalised::of(text, std::slice::from_ref(&(0..text.len())));
        assert_eq!(whole.text, "aa<x>2</x>bc");
        let kept = whole.keep(&[0..2, 10..12]);
        assert_eq!(kept.text, "aa\nbc");
        let original: Vec<usize> = (0..=kept.text.len()).map(|at| kept.original(at)).collect();
        let b = text.find('ｂ').expect("there");
        assert_eq!(original, [0, 3, 4, b, b + 6, text.len()]);
        assert_eq!(kept.joints(), [2]);
    }

    #[test]
    fn every_position_maps_into_the_original() {
        let text = "Ａ\u{200b}b证明ﬁn２…\u{e0041}z";
        let normalised = Normalised::of(text, std::slice::from_ref(&(0..text.len())));
        let mut last = 0;
        for (at, _) in normalised.text.char_indices() {
            let there = normalised.original(at);
            assert!(there >= last && there < text.len());
            last = there;
        }
        assert_eq!(normalised.original(normalised.text.len()), text.len());
    }

    #[test]
    fn the_table_is_sorted_and_maps_once() {
        assert!(TRADITIONAL.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TRADITIONAL.iter().all(|(_, plain)| simplified(*plain) == *plain));
    }
}
